//! Exercise 11.1: element (m, k) of a matrix that nobody writes.

/// A convolution of images `x [n, h, w, c]` with square kernels: output pixel (i, j) sees the `taps` x `taps` pixels of which
/// the first is (i stride - pad, j stride - pad).
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub taps: usize,
    pub stride: usize,
    pub pad: usize,
}

impl Layer {
    /// Rows and columns of the output.
    pub fn out(&self) -> (usize, usize) {
        let size = |n: usize| (n + 2 * self.pad - self.taps) / self.stride + 1;
        (size(self.h), size(self.w))
    }
}

/// Where in `x` element (m, k) of the left operand lies, or `None` where it is one of the zeros around the image. `m` counts
/// the output pixels of all images, row by row; `k` counts (row of the kernel, column of the kernel, channel).
pub fn source(m: usize, k: usize, layer: &Layer) -> Option<usize> {
    let _ = (m, k, layer);
    todo!("exercise 11.1")
}
