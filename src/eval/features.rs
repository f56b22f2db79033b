//! Features of images: the numbers that a network computes of an image, and that images are compared by.

use crate::Result;

/// A network whose features describe images. Distances of features compare only with distances of the same features.
pub trait Features {
    /// The network, in a word.
    fn name(&self) -> &'static str;

    /// Number of features of an image.
    fn dims(&self) -> usize;

    /// Features `[n, dims]` of images `[n, h, w, c]` in [-1, 1].
    ///
    /// # Errors
    /// Images of a size that the network does not take, or what the device reports.
    fn features(&mut self, images: &[f32], dims: [usize; 4]) -> Result<Vec<f32>>;
}
