//! The shape of a group norm.

/// Images, pixels, channels and groups, and the activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub n: usize,
    pub pixels: usize,
    pub c: usize,
    pub groups: usize,
    pub silu: bool,
}

impl Shape {
    /// Elements of an image.
    pub fn image(&self) -> usize {
        self.pixels * self.c
    }

    /// Floats of an image's statistics.
    pub fn stats_width(&self, with_bias: bool) -> usize {
        2 * self.groups + if with_bias { self.c } else { 0 }
    }
}
