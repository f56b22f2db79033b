//! Batches of one step after the other, from memory or from the disk.

use super::dataset::{Dataset, Samples};
use super::loader::{Batch, Loader};
use super::stream::Ahead;
use crate::Result;

/// Fills batches. Of images that stay on the disk, those of the next steps are decoded ahead by a thread.
#[derive(Debug)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    loader: Loader,
    batch: Batch,
    ahead: Option<Ahead>,
}

impl<'a> Batches<'a> {
    /// The batches that a loader chooses of a data set.
    pub fn new(dataset: &'a Dataset, loader: Loader) -> Batches<'a> {
        Batches { dataset, loader, batch: Batch::default(), ahead: None }
    }

    /// Writes the samples of a step to `images`, as [`Dataset::fill_batch`] does, and their labels to `labels` where there
    /// are some. The batch is a function of the seed and the step; the next step's is the fastest.
    ///
    /// # Errors
    /// Images that cannot be read or decoded.
    pub fn fill(&mut self, step: u64, images: &mut [f32], labels: Option<&mut [i32]>) -> Result<()> {
        if let Samples::Stream(stream) = &self.dataset.samples {
            let ahead = self.ahead.take().filter(|ahead| ahead.next() == step);
            let mut ahead = ahead.unwrap_or_else(|| Ahead::start(stream, &self.loader, step));
            let (batch, pixels) = ahead.take()?;
            self.dataset.scale_pixels(&pixels, &batch.flips, images);
            self.batch = batch;
            self.ahead = Some(ahead);
        } else {
            self.loader.fill(step, &mut self.batch);
            self.dataset.fill_batch(&self.batch.indices, &self.batch.flips, images)?;
        }
        if let Some(labels) = labels {
            self.dataset.fill_labels(&self.batch.indices, labels);
        }
        Ok(())
    }
}
