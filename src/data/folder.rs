//! Folders of PNG and JPEG images, one sub-folder per class.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use rayon::prelude::*;

use super::{
    DataOptions,
    dataset::{ClassFilter, Dataset, Samples, luma, refuse_grey},
    locate::display_name,
    resize::Resize,
};
use crate::{Error, Result};

/// Image files in a fixed order, with their classes where they lie in class folders.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) files: Vec<PathBuf>,
    pub(super) labels: Option<Vec<u32>>,
    pub(super) class_names: Vec<String>,
}

impl Listing {
    /// The files of the chosen classes.
    pub(super) fn select(self, source: &Path, filter: &ClassFilter) -> Result<Listing> {
        let labels = self.labels.as_deref().unwrap_or_default();
        let chosen = filter.apply(&display_name(source), labels, &self.class_names)?;
        let files = chosen.kept.iter().map(|&i| self.files[i].clone()).collect();
        Ok(Listing { files, labels: Some(chosen.labels), class_names: chosen.class_names })
    }
}

/// What an image's header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    height: usize,
    width: usize,
    grey: bool,
}

/// Decodes the images of a listing, each brought to one size and number of channels. `source` is what the user named.
///
/// Sixteen-bit images are rounded to eight; transparency is dropped, as Pillow's `convert("RGB")` does.
pub(super) fn read(source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
    // All headers first: they settle the channels and find broken files before the long work begins.
    let headers = listing.files.par_iter().map(|path| header(path)).collect::<Result<Vec<Header>>>()?;
    let all_grey = headers.iter().all(|header| header.grey);
    let channels = options.channels.unwrap_or(if all_grey { 1 } else { 3 });
    if channels == 1 && !all_grey && !options.to_grey {
        return Err(refuse_grey(&display_name(source)));
    }
    let [height, width] = options.size.unwrap_or([headers[0].height, headers[0].width]);

    let mut pixels = vec![0; listing.files.len() * height * width * channels];
    pixels.par_chunks_exact_mut(height * width * channels).zip(&listing.files).try_for_each(|(out, path)| {
        let image = decode(path)?;
        let from = [image.height() as usize, image.width() as usize];
        let bytes = match channels {
            1 if image.color().has_color() => image.into_rgb8().pixels().map(|pixel| luma(pixel.0)).collect(),
            1 => image.into_luma8().into_raw(),
            _ => image.into_rgb8().into_raw(),
        };
        if from == [height, width] {
            out.copy_from_slice(&bytes);
        } else {
            Resize::new(from, [height, width]).apply(&bytes, channels, out);
        }
        Ok::<(), Error>(())
    })?;

    let class_folders = if listing.labels.is_some() { ", a sub-folder per class" } else { "" };
    Ok(Dataset {
        name: display_name(source),
        format: format!("PNG and JPEG images{class_folders}"),
        len: listing.files.len(),
        height,
        width,
        channels,
        samples: Samples::in_memory(pixels),
        labels: listing.labels,
        class_names: listing.class_names,
    })
}

fn header(path: &Path) -> Result<Header> {
    let decoder = reader(path)?.into_decoder().map_err(|e| unreadable(path, e))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::format(path, format!("unreadable image: its size is {width}x{height}")));
    }
    Ok(Header { height: height as usize, width: width as usize, grey: !decoder.color_type().has_color() })
}

fn decode(path: &Path) -> Result<DynamicImage> {
    reader(path)?.decode().map_err(|e| unreadable(path, e))
}

/// A reader that goes by the file's content, whatever its name says.
fn reader(path: &Path) -> Result<ImageReader<BufReader<File>>> {
    ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(Error::io(path))
}

fn unreadable(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => Error::io(path)(source),
        error => Error::format(path, format!("unreadable image: {error}")),
    }
}
