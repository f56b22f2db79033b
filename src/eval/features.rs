//! What images are compared by: numbers that a network reads off them.

use crate::Result;

/// A network whose features describe images. Distances of features compare only with distances of the same features.
pub trait Features {
    /// What network it is, in a word.
    fn name(&self) -> &'static str;

    /// Number of features of an image.
    fn dims(&self) -> usize;

    /// Features `[n, dims]` of images `[n, h, w, c]` in [-1, 1].
    ///
    /// # Errors
    /// Images of a size that the network does not take, or what the device reports.
    fn features(&mut self, images: &[f32], dims: [usize; 4]) -> Result<Vec<f32>>;
}
