//! Data sets whose images stay on the disk, and the choice between the disk and memory.

use std::sync::Arc;

use super::dataset::{Dataset, Samples};
use super::options::DataOptions;
use super::shape::Shape;
use super::stream::{ImageFiles, ImageStream};
use crate::{Error, Result};

/// Images that are brought into memory together.
const TOGETHER: usize = 4096;

impl Samples {
    /// Images of files that stay on the disk, for now at least.
    pub(super) fn on_disk(files: Arc<dyn ImageFiles>, shape: Shape, options: &DataOptions) -> Samples {
        Samples::Stream(Arc::new(ImageStream::new(files, shape, options.shuffle_window)))
    }
}

impl Dataset {
    fn stream(&self) -> Option<&ImageStream> {
        match &self.samples {
            Samples::Stream(stream) => Some(stream),
            Samples::Images(_) | Samples::Points(_) => None,
        }
    }

    /// True of images on the disk that are read in blocks: samples in the order of the files come fast, others slowly.
    pub fn is_in_blocks(&self) -> bool {
        self.stream().is_some_and(|stream| stream.blocks().is_some())
    }

    /// The first sample of each block with the number of samples, and the images of a window, where they are in blocks.
    pub(super) fn windows(&self) -> Option<(Arc<[u32]>, usize)> {
        let stream = self.stream()?;
        Some((stream.blocks()?, stream.window()))
    }

    /// Brings images into memory if they take no more than the limit; otherwise they stay on the disk, which a note says.
    ///
    /// # Errors
    /// Images that cannot be read, or windows that do not fit into the limit either.
    pub(super) fn settle(mut self, options: &DataOptions) -> Result<Dataset> {
        let Some(stream) = self.stream() else { return Ok(self) };
        let bytes = stream.len().saturating_mul(stream.shape().bytes());
        if bytes <= options.limit_bytes() {
            let samples = Samples::in_memory(self.all_pixels(bytes)?);
            return Ok(Dataset { samples, ..self });
        }
        let mut order = "";
        if stream.blocks().is_some() {
            check_windows(&self.name, stream, options)?;
            order = ", in an order that is random within windows of data.shuffle_window";
        }
        let (megabytes, limit) = (bytes.div_ceil(1_000_000), options.memory_limit);
        self.notes.push(format!(
            "the images stay on the disk: {megabytes} MB of pixels are more than data.memory_limit = {limit}{order}"
        ));
        Ok(self)
    }

    /// Some of the samples, in memory.
    ///
    /// # Errors
    /// Images that cannot be read, or take more megabytes than the limit.
    pub fn in_memory(&self, samples: &[usize], limit_mb: usize) -> Result<Dataset> {
        let part = self.part(samples);
        let bytes = part.len().saturating_mul(part.sample_numbers());
        if bytes > limit_mb.saturating_mul(1_000_000) {
            return Err(Error::Config(format!(
                "{}: {} images that validate take {} MB, more than data.memory_limit = {limit_mb}: lower \
                 train.validation_fraction or raise the limit",
                self.name,
                part.len(),
                bytes.div_ceil(1_000_000)
            )));
        }
        let pixels = part.all_pixels(bytes)?;
        Ok(Dataset { samples: Samples::in_memory(pixels), ..part })
    }

    fn all_pixels(&self, bytes: usize) -> Result<Vec<u8>> {
        let mut pixels = Vec::new();
        if pixels.try_reserve_exact(bytes).is_err() {
            return Err(Error::Config(format!(
                "{}: {} MB of pixels do not fit into memory: lower data.memory_limit, or choose a smaller size",
                self.name,
                bytes / 1_000_000
            )));
        }
        for first in (0..self.len()).step_by(TOGETHER) {
            let indices: Vec<usize> = (first..self.len().min(first + TOGETHER)).collect();
            pixels.extend(self.images_u8(&indices)?);
        }
        Ok(pixels)
    }
}

/// Refuses windows whose encoded images take more memory than the limit: the one that is read, and the next one.
fn check_windows(name: &str, stream: &ImageStream, options: &DataOptions) -> Result<()> {
    let window = stream.window().min(stream.len());
    let needed = stream.mean_bytes().unwrap_or(0).saturating_mul(2 * window);
    if needed <= options.limit_bytes() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{name}: two windows of data.shuffle_window = {window} images take about {} MB, more than data.memory_limit = {}: \
         lower the one or raise the other",
        needed.div_ceil(1_000_000),
        options.memory_limit
    )))
}
