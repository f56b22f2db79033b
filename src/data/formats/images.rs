//! Folders of image files, one sub-folder per class.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::format::{Description, Format, Head, Holds, Listing};
use super::prefix::{PREFIX, prefixes_note};
use crate::data::{
    dataset::{Dataset, Samples, refuse_grey},
    decode::{self, Header},
    names::display_name,
    options::DataOptions,
    shape::Shape,
    stream::Loose,
    tree::Tree,
};
use crate::{Error, Result};

/// Image files, each of one sample.
#[derive(Debug)]
pub(super) struct Images;

impl Format for Images {
    fn describe(&self) -> Description {
        Description {
            source: "DIR of images",
            contents: "PNG, JPEG, WebP, BMP, GIF, TIFF of any size, unpacked or in a .zip, .tar or .tar.gz; each sub-folder is a class, \
                       train/ and test/ are splits; EDM's dataset.json; labels prefix: names CLASS_...",
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

    fn label_kinds(&self) -> Vec<&'static str> {
        vec!["folders", PREFIX]
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        read(source, listing, options)
    }
}

/// Decodes the images of a listing, each brought to one size and number of channels, or leaves them on the disk where they
/// would take too much memory.
pub(super) fn read(source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
    // All headers first: they settle the channels and find broken files before the long work begins.
    let (tree, files) = (&listing.tree, &listing.samples);
    let header = |path: &PathBuf| decode::header(&mut tree.open(path)?);
    let headers = files.par_iter().map(header).collect::<Result<Vec<Header>, String>>();
    let Ok(headers) = headers else { return Err(all_unreadable(source, tree, files)) };
    let all_grey = headers.iter().all(|header| header.grey);
    let channels = options.channels.unwrap_or(if all_grey { 1 } else { 3 });
    if channels == 1 && !all_grey && !options.to_grey {
        return Err(refuse_grey(&display_name(source)));
    }
    let [height, width] = options.size.unwrap_or(headers[0].upright());

    let shape = Shape { height, width, channels, to_grey: options.to_grey };
    let samples = if shape.bytes().saturating_mul(files.len()) > options.limit_bytes() {
        Samples::on_disk(Arc::new(Loose { tree: tree.clone(), files: files.clone() }), shape, options)
    } else {
        let mut pixels = reserve(source, [files.len(), height, width, channels])?;
        let images = pixels.par_chunks_exact_mut(shape.bytes()).zip(files);
        let decoded = images.try_for_each(|(out, path)| {
            shape.fit(decode::decode(&mut tree.open(path)?)?, out);
            Ok::<(), String>(())
        });
        if decoded.is_err() {
            return Err(all_unreadable(source, tree, files));
        }
        Samples::in_memory(pixels)
    };

    let place = tree.archive(&files[0]).map_or_else(String::new, |archive| format!(" in {}", archive.packing()));
    let origin = listing.classes.as_ref().map_or_else(String::new, |classes| format!(", {}", classes.origin));
    let prefixes = if listing.classes.is_none() { prefixes_note(files) } else { None };
    let (labels, class_names) = listing.classes.map(|classes| (classes.labels, classes.names)).unzip();
    let turned = headers.iter().filter(|header| !header.is_upright()).count();
    let turned = (turned > 0).then(|| format!("turned {turned} image(s) upright, as their EXIF data ask for"));
    Ok(Dataset {
        name: display_name(source),
        format: format!("images{place}{origin}"),
        len: files.len(),
        height,
        width,
        channels,
        samples,
        labels,
        class_names: class_names.unwrap_or_default(),
        notes: listing.notes.into_iter().chain(turned).chain(prefixes).collect(),
    })
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
fn all_unreadable(source: &Path, tree: &Tree, files: &[PathBuf]) -> Error {
    const SHOWN: usize = 20;
    let fault = |path: &PathBuf| tree.open(path).and_then(|mut input| decode::decode(&mut input)).err();
    let faults: Vec<(&PathBuf, String)> = files.par_iter().filter_map(|path| Some((path, fault(path)?))).collect();
    if let [(path, reason)] = &faults[..] {
        return tree.error(path, reason);
    }
    let reason = |(path, reason): &(&PathBuf, String)| {
        let name = path.strip_prefix(source).unwrap_or(path).display();
        format!("{name} ({})", reason.trim_start_matches("unreadable image: "))
    };
    let shown = faults.iter().take(SHOWN).map(reason).collect::<Vec<_>>().join(", ");
    let more = if faults.len() > SHOWN { ", ..." } else { "" };
    Error::format(source, format!("{} unreadable images: {shown}{more}", faults.len()))
}
