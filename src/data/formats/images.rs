//! Folders of image files, one sub-folder per class.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    dataset::{Dataset, Samples, refuse_grey},
    decode::{self, Header, Image, Input},
    names::display_name,
    options::DataOptions,
    shape::Shape,
    stream::Loose,
};
use crate::{Error, Result};

/// Image files, each of one sample.
#[derive(Debug)]
pub(super) struct Images;

impl Format for Images {
    fn describe(&self) -> Description {
        Description {
            source: "DIR of images",
            contents: "PNG, JPEG, WebP, BMP, GIF, TIFF of any size; each sub-folder is a class; train/ and test/ are splits",
            file: "one image",
            files: "images (PNG, JPEG, WebP, BMP, GIF, TIFF)",
        }
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        let is_image = decode::is_image(&head.bytes) || decode::is_named_image(&head.extension());
        Ok((is_image && !head.is_gzip).then_some(Holds::Samples))
    }

    fn has_class_folders(&self) -> bool {
        true
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        read(source, listing, options)
    }
}

/// Decodes the images of a listing, each brought to one size and number of channels, or leaves them on the disk where they
/// would take too much memory.
fn read(source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
    // All headers first: they settle the channels and find broken files before the long work begins.
    let files = &listing.samples;
    let header = |path: &PathBuf| decode::header(&mut open(path)?).map_err(|reason| Error::format(path, reason));
    let headers = files.par_iter().map(header).collect::<Result<Vec<Header>>>();
    let Ok(headers) = headers else { return Err(all_unreadable(source, files)) };
    let all_grey = headers.iter().all(|header| header.grey);
    let channels = options.channels.unwrap_or(if all_grey { 1 } else { 3 });
    if channels == 1 && !all_grey && !options.to_grey {
        return Err(refuse_grey(&display_name(source)));
    }
    let [height, width] = options.size.unwrap_or(headers[0].upright());

    let shape = Shape { height, width, channels, to_grey: options.to_grey };
    let samples = if shape.bytes().saturating_mul(files.len()) > options.limit_bytes() {
        Samples::on_disk(Arc::new(Loose(files.clone())), shape, options)
    } else {
        let mut pixels = reserve(source, [files.len(), height, width, channels])?;
        let images = pixels.par_chunks_exact_mut(shape.bytes()).zip(files);
        let decoded = images.try_for_each(|(out, path)| Ok::<(), Error>(shape.fit(decode_file(path)?, out)));
        if decoded.is_err() {
            return Err(all_unreadable(source, files));
        }
        Samples::in_memory(pixels)
    };

    let class_folders = if listing.classes.is_some() { ", a sub-folder per class" } else { "" };
    let (labels, class_names) = listing.classes.map(|classes| (classes.labels, classes.names)).unzip();
    let turned = headers.iter().filter(|header| !header.is_upright()).count();
    let turned = (turned > 0).then(|| format!("turned {turned} image(s) upright, as their EXIF data ask for"));
    Ok(Dataset {
        name: display_name(source),
        format: format!("images{class_folders}"),
        len: files.len(),
        height,
        width,
        channels,
        samples,
        labels,
        class_names: class_names.unwrap_or_default(),
        notes: listing.notes.into_iter().chain(turned).collect(),
    })
}

fn open(path: &Path) -> Result<Input> {
    Input::open(path).map_err(Error::io(path))
}

fn decode_file(path: &Path) -> Result<Image> {
    decode::decode(&mut open(path)?).map_err(|reason| Error::format(path, reason))
}

/// Bytes for images `[n, h, w, c]`, all 0.
fn reserve(source: &Path, dims: [usize; 4]) -> Result<Vec<u8>> {
    let bytes = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    let mut pixels = Vec::new();
    match bytes {
        Some(bytes) if pixels.try_reserve_exact(bytes).is_ok() => {
            pixels.extend(std::iter::repeat_n(0, bytes));
            Ok(pixels)
        }
        _ => {
            let [n, h, w, c] = dims;
            let reason = format!("{n} images of {w}x{h}x{c} do not fit into memory: choose a smaller size");
            Err(Error::format(source, reason))
        }
    }
}

/// The error of a data set with images that cannot be read: all of them, so that one look is enough.
fn all_unreadable(source: &Path, files: &[PathBuf]) -> Error {
    const SHOWN: usize = 20;
    let mut errors: Vec<Error> = files.par_iter().filter_map(|path| decode_file(path).err()).collect();
    if errors.len() == 1 {
        return errors.remove(0);
    }
    let reason = |error: &Error| match error {
        Error::Format { path, reason } => {
            let name = path.strip_prefix(source).unwrap_or(path).display();
            format!("{name} ({})", reason.trim_start_matches("unreadable image: "))
        }
        error => error.to_string(),
    };
    let shown = errors.iter().take(SHOWN).map(reason).collect::<Vec<_>>().join(", ");
    let more = if errors.len() > SHOWN { ", ..." } else { "" };
    Error::format(source, format!("{} unreadable images: {shown}{more}", errors.len()))
}
