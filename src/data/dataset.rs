//! A set of 8-bit images of one size, or of points of the plane, and the way from them to a batch of numbers.

use std::sync::Arc;

use bytemuck::cast_slice;
use rayon::prelude::*;

use super::classes::ClassFilter;
pub(super) use super::pixels::Pixels;
use super::resize::Resize;
use super::shape::luma;
pub use super::split::Split;
use super::stream::ImageStream;
use crate::{Error, Result, levels};

/// Samples on the disk that a fingerprint looks at.
const SPREAD: usize = 64;

/// Samples `[n, h, w, c]`, images of 8 bits or points of the plane, with their labels where there are any.
#[derive(Debug)]
pub struct Dataset {
    pub(super) name: String,
    pub(super) format: String,
    pub(super) len: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) samples: Samples,
    pub(super) labels: Option<Vec<u32>>,
    /// One per class, empty where there are no labels.
    pub(super) class_names: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// The samples of a data set.
#[derive(Debug)]
pub(super) enum Samples {
    /// `[n, h, w, c]`
    Images(Pixels),
    /// Images that stay on the disk.
    Stream(Arc<ImageStream>),
    /// `[n, 1, 1, 2]`, as a model sees them.
    Points(Vec<f32>),
}

impl Samples {
    pub(super) fn in_memory(bytes: Vec<u8>) -> Samples {
        Samples::Images(Pixels::Memory(bytes))
    }
}

impl Dataset {
    /// The source's name: that of a set which the program draws, or the last part of a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file format, in words.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// The number of samples, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set without samples is an error when it is opened")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Height, width and channels of every image; 1, 1, 2 of points.
    pub fn image_dims(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// The label of every sample, below the number of classes.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// The classes in the order of their labels; empty where there are no labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Remarks on how the data set was read, to be shown to the user: files that were left out, images that were turned.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The points, `[n, 2]`, of a data set that holds points.
    pub fn points(&self) -> Option<&[f32]> {
        match &self.samples {
            Samples::Points(points) => Some(points),
            Samples::Images(_) | Samples::Stream(_) => None,
        }
    }

    /// Checksums by which two processes find that they have opened the same data: of the samples, or of some that are spread
    /// over those that stay on the disk.
    ///
    /// # Errors
    /// Images that stay on the disk and cannot be read or decoded.
    pub fn fingerprint(&self) -> Result<String> {
        let samples = match &self.samples {
            Samples::Images(pixels) => crc32c::crc32c(pixels.bytes()),
            Samples::Stream(_) => {
                let places: Vec<usize> = (0..SPREAD).map(|i| i * self.len / SPREAD).collect();
                crc32c::crc32c(&self.images_u8(&places)?)
            }
            Samples::Points(points) => crc32c::crc32c(cast_slice(points)),
        };
        let labels = crc32c::crc32c(cast_slice(self.labels().unwrap_or_default()));
        let (dims, classes) = (self.image_dims(), self.class_names.join(", "));
        Ok(format!("{} of {dims:?}\nsamples {samples:08x}\nlabels {labels:08x}\n{classes}\n", self.len))
    }

    /// The images at `indices`, `[n, h, w, c]`.
    ///
    /// # Errors
    /// Images that stay on the disk and cannot be read or decoded.
    ///
    /// # Panics
    /// If the data set holds [`Dataset::points`].
    pub fn images_u8(&self, indices: &[usize]) -> Result<Vec<u8>> {
        let Samples::Stream(stream) = &self.samples else {
            return Ok(indices.iter().flat_map(|&i| self.image_u8(i)).copied().collect());
        };
        let mut pixels = vec![0; indices.len() * self.sample_numbers()];
        stream.read(indices, &mut pixels)?;
        Ok(pixels)
    }

    /// Image `i`, `[h, w, c]`, of images in memory.
    pub(super) fn image_u8(&self, i: usize) -> &[u8] {
        let bytes = self.sample_numbers();
        &self.pixels().bytes()[i * bytes..][..bytes]
    }

    fn pixels(&self) -> &Pixels {
        match &self.samples {
            Samples::Images(pixels) => pixels,
            Samples::Stream(_) => panic!("the images of {} are not in memory", self.name),
            Samples::Points(_) => panic!("{} holds points, which are not images of 8 bits", self.name),
        }
    }

    pub(super) fn sample_numbers(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Refuses to mirror what is not an image.
    ///
    /// # Errors
    /// If `flip` is set and the data set holds points.
    pub fn check_flip(&self, flip: bool) -> Result<()> {
        match &self.samples {
            Samples::Points(_) if flip => Err(Error::Config(format!(
                "{} holds points of the plane, of which no mirror image can be learnt from: use data.flip = false",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// Writes the samples at `indices` to `out`, `[batch, h, w, c]`: images scaled from {0, ..., 255} to [-1, 1], each
    /// mirrored left to right if its flip is set, and points as they are.
    ///
    /// # Errors
    /// Images that stay on the disk and cannot be read or decoded.
    ///
    /// # Panics
    /// If the lengths of `indices`, `flips` and `out` do not fit together, an index is out of range, or a point is to
    /// be flipped.
    pub fn fill_batch(&self, indices: &[usize], flips: &[bool], out: &mut [f32]) -> Result<()> {
        assert_eq!(indices.len(), flips.len(), "one flip per sample");
        assert_eq!(out.len(), indices.len() * self.sample_numbers(), "a batch of {} samples", indices.len());
        match &self.samples {
            Samples::Images(_) => self.scale_images(indices.par_iter().map(|&i| self.image_u8(i)), flips, out),
            Samples::Stream(_) => self.scale_pixels(&self.images_u8(indices)?, flips, out),
            Samples::Points(points) => {
                assert!(!flips.contains(&true), "points are not mirrored");
                out.chunks_exact_mut(2).zip(indices).for_each(|(out, &i)| out.copy_from_slice(&points[2 * i..][..2]));
            }
        }
        Ok(())
    }

    /// Scales pixels `[batch, h, w, c]` as [`Dataset::fill_batch`] does.
    pub(super) fn scale_pixels(&self, pixels: &[u8], flips: &[bool], out: &mut [f32]) {
        self.scale_images(pixels.par_chunks_exact(self.sample_numbers()), flips, out);
    }

    fn scale_images<'a>(&self, images: impl IndexedParallelIterator<Item = &'a [u8]>, flips: &[bool], out: &mut [f32]) {
        out.par_chunks_exact_mut(self.sample_numbers()).zip(images).zip(flips).for_each(|((out, image), &flip)| {
            if flip {
                let row = self.width * self.channels;
                for (out, image) in out.chunks_exact_mut(row).zip(image.chunks_exact(row)) {
                    let mirrored = image.chunks_exact(self.channels).rev();
                    out.chunks_exact_mut(self.channels).zip(mirrored).for_each(|(out, pixel)| scale(out, pixel));
                }
            } else {
                scale(out, image);
            }
        });
    }

    /// Writes the labels of the samples at `indices` to `out`.
    ///
    /// # Panics
    /// If the data set has no labels.
    pub fn fill_labels(&self, indices: &[usize], out: &mut [i32]) {
        let labels = self.labels.as_ref().expect("the data set has labels");
        out.iter_mut().zip(indices).for_each(|(out, &i)| *out = labels[i] as i32);
    }

    /// The samples of the chosen classes only.
    pub(super) fn select(self, filter: &ClassFilter) -> Result<Dataset> {
        let labels = self.labels.as_deref().unwrap_or_default();
        let chosen = filter.apply(&self.name, labels, &self.class_names)?;
        Ok(Dataset { labels: Some(chosen.labels), class_names: chosen.class_names, ..self.part(&chosen.kept) })
    }

    /// Some of the samples, in this order, or in that of the files where they are read in blocks.
    pub(super) fn part(&self, indices: &[usize]) -> Dataset {
        let mut sorted = Vec::new();
        let indices = if self.is_in_blocks() {
            sorted.extend_from_slice(indices);
            sorted.sort_unstable();
            &sorted
        } else {
            indices
        };
        let samples = match &self.samples {
            Samples::Stream(stream) => Samples::Stream(Arc::new(stream.part(indices))),
            Samples::Images(_) => Samples::in_memory(indices.iter().flat_map(|&i| self.image_u8(i)).copied().collect()),
            Samples::Points(points) => {
                Samples::Points(indices.iter().flat_map(|&i| &points[2 * i..][..2]).copied().collect())
            }
        };
        Dataset {
            name: self.name.clone(),
            format: self.format.clone(),
            len: indices.len(),
            samples,
            labels: self.labels.as_ref().map(|labels| indices.iter().map(|&i| labels[i]).collect()),
            class_names: self.class_names.clone(),
            notes: self.notes.clone(),
            ..*self
        }
    }

    /// Brings the images to a height and width: cropped around the centre to that shape, bilinear, rounded to 8 bits.
    pub(super) fn resize(self, size: Option<[usize; 2]>) -> Result<Dataset> {
        let from = [self.height, self.width];
        let Some([height, width]) = size.filter(|&size| size != from) else { return Ok(self) };
        let resize = Resize::new(from, [height, width]);
        let mut pixels = vec![0; self.len * height * width * self.channels];
        pixels
            .par_chunks_exact_mut(height * width * self.channels)
            .zip(self.pixels().bytes().par_chunks_exact(self.sample_numbers()))
            .for_each(|(out, image)| resize.apply(image, self.channels, out));
        Ok(Dataset { height, width, samples: Samples::in_memory(pixels), ..self })
    }

    /// The images with rows and columns exchanged; `note` is the reason, for the user.
    pub(super) fn transpose(mut self, note: &str) -> Dataset {
        let (height, width, channels) = (self.height, self.width, self.channels);
        let mut pixels = vec![0; self.pixels().bytes().len()];
        let images = pixels.par_chunks_exact_mut(self.sample_numbers());
        images.zip(self.pixels().bytes().par_chunks_exact(self.sample_numbers())).for_each(|(out, image)| {
            for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                let (x, y) = (i / height, i % height);
                out.copy_from_slice(&image[(y * width + x) * channels..][..channels]);
            }
        });
        self.notes.push(note.into());
        Dataset { height: width, width: height, samples: Samples::in_memory(pixels), ..self }
    }

    /// The images with 1 or 3 channels.
    pub(super) fn with_channels(self, channels: Option<usize>, to_grey: bool) -> Result<Dataset> {
        if channels.is_none_or(|want| want == self.channels) {
            return Ok(self);
        }
        let bytes = self.pixels().bytes();
        let pixels = match (self.channels, channels) {
            (_, None) => return Ok(self),
            (1, Some(3)) => bytes.par_iter().flat_map_iter(|&grey| [grey; 3]).collect(),
            (3, Some(1)) if to_grey => bytes.par_chunks_exact(3).map(|rgb| luma([rgb[0], rgb[1], rgb[2]])).collect(),
            (3, Some(1)) => return Err(refuse_grey(&self.name)),
            (have, Some(want)) => {
                return Err(Error::Config(format!("{} has {have} channels, the model wants {want}", self.name)));
            }
        };
        Ok(Dataset { channels: channels.unwrap_or(self.channels), samples: Samples::in_memory(pixels), ..self })
    }
}

/// Colour is not given up silently.
pub(super) fn refuse_grey(name: &str) -> Error {
    Error::Config(format!(
        "{name} holds colour images, the model has 1 channel: give it 3 (--set model.in_channels=3 --set \
         model.out_channels=3), or turn the images to grey (--set data.grey=true)"
    ))
}

fn scale(out: &mut [f32], bytes: &[u8]) {
    out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = levels::value(byte));
}
