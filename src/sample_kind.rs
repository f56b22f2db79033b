//! Kinds of samples: images, and points of the plane, which are shown and measured in other ways.

/// Kind of the samples of a data set or a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// Images, with values in [-1, 1].
    Images,
    /// Points of the plane, of any values.
    Points,
}

impl SampleKind {
    /// The dimensions of a point, `[height, width, channels]`.
    pub const POINT: [usize; 3] = [1, 1, 2];

    /// The kind of samples of these dimensions, `[height, width, channels]`.
    pub fn of(dims: [usize; 3]) -> SampleKind {
        if dims == SampleKind::POINT { SampleKind::Points } else { SampleKind::Images }
    }
}
