//! Folders of image files, one sub-folder per class.

use std::path::Path;

use rayon::prelude::*;

use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    dataset::{Dataset, Samples, luma, refuse_grey},
    decode::{self, Header, Image},
    names::display_name,
    options::DataOptions,
    resize::Resize,
};
use crate::{Error, Result};

/// Image files, each of one sample.
#[derive(Debug)]
pub(super) struct Images;

/// Extensions that are believed whatever the content, so that a damaged image is reported, not skipped.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

impl Format for Images {
    fn describe(&self) -> Description {
        Description {
            source: "DIR of images",
            contents: "PNG and JPEG of any size; each sub-folder is a class; train/ and test/ are splits",
            file: "one image",
            files: "PNG or JPEG images",
        }
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        let is_image = decode::is_image(&head.bytes) || EXTENSIONS.contains(&head.extension().as_str());
        Ok((is_image && !head.is_gzip).then_some(Holds::Samples))
    }

    fn has_class_folders(&self) -> bool {
        true
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        read(source, listing, options)
    }
}

/// Decodes the images of a listing, each brought to one size and number of channels.
fn read(source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
    // All headers first: they settle the channels and find broken files before the long work begins.
    let headers = listing.samples.par_iter().map(|path| decode::header(path)).collect::<Result<Vec<Header>>>()?;
    let all_grey = headers.iter().all(|header| header.grey);
    let channels = options.channels.unwrap_or(if all_grey { 1 } else { 3 });
    if channels == 1 && !all_grey && !options.to_grey {
        return Err(refuse_grey(&display_name(source)));
    }
    let [height, width] = options.size.map_or([headers[0].height, headers[0].width], |size| [size; 2]);

    let mut pixels = vec![0; listing.samples.len() * height * width * channels];
    pixels.par_chunks_exact_mut(height * width * channels).zip(&listing.samples).try_for_each(|(out, path)| {
        let image = decode::decode(path)?;
        let from = [image.height, image.width];
        let bytes = with_channels(image, channels);
        if from == [height, width] {
            out.copy_from_slice(&bytes);
        } else {
            Resize::new(from, [height, width]).apply(&bytes, channels, out);
        }
        Ok::<(), Error>(())
    })?;

    let class_folders = if listing.classes.is_some() { ", a sub-folder per class" } else { "" };
    let classes = listing.classes.map(|classes| (classes.labels, classes.names));
    let (labels, class_names) = classes.unzip();
    Ok(Dataset {
        name: display_name(source),
        format: format!("PNG and JPEG images{class_folders}"),
        len: listing.samples.len(),
        height,
        width,
        channels,
        samples: Samples::in_memory(pixels),
        labels,
        class_names: class_names.unwrap_or_default(),
    })
}

/// The pixels of an image with 1 or 3 channels.
fn with_channels(image: Image, channels: usize) -> Vec<u8> {
    match (image.channels, channels) {
        (3, 1) => image.pixels.chunks_exact(3).map(|rgb| luma([rgb[0], rgb[1], rgb[2]])).collect(),
        (1, 3) => image.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => image.pixels,
    }
}
