//! Archives of NumPy arrays, `.npz`: samples of improved-diffusion and guided-diffusion (`arr_0`, labels `arr_1`), and sets
//! with named arrays, such as Keras' `mnist.npz` and MedMNIST. Images `[n, h, w, c]` or `[n, h, w]` of bytes.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use zip::ZipArchive;

use super::format::{Description, Format, Head, Holds, Listing, MOST_INFLATED, number};
use crate::data::{
    dataset::{Dataset, Samples, Split},
    names::display_name,
    options::DataOptions,
};
use crate::{Error, Result};

/// Archives of NumPy arrays.
#[derive(Debug)]
pub(super) struct Npz;

/// The names of the arrays of images and of labels, and the split that they are.
struct Arrays {
    images: &'static str,
    labels: &'static str,
    split: Option<Split>,
}

const LAYOUTS: [Arrays; 6] = [
    Arrays { images: "arr_0", labels: "arr_1", split: None },
    Arrays { images: "images", labels: "labels", split: None },
    Arrays { images: "x_train", labels: "y_train", split: Some(Split::Train) },
    Arrays { images: "x_test", labels: "y_test", split: Some(Split::Test) },
    Arrays { images: "train_images", labels: "train_labels", split: Some(Split::Train) },
    Arrays { images: "test_images", labels: "test_labels", split: Some(Split::Test) },
];

type Archive = ZipArchive<BufReader<File>>;

impl Format for Npz {
    fn describe(&self) -> Description {
        Description {
            source: "FILE.npz",
            contents: "images [n, h, w, c] of bytes with labels: arr_0, arr_1 of improved-diffusion; images, labels; x_train, y_train, x_test, y_test of Keras; train_images, ... of MedMNIST",
            file: "one .npz of images",
            files: ".npz archives of images",
        }
    }

    /// Archives of other arrays, such as statistics of features, are no data.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if !head.bytes.starts_with(b"PK\x03\x04") || head.extension() != "npz" {
            return Ok(None);
        }
        let holds_images =
            open(head.path).is_ok_and(|archive| LAYOUTS.iter().any(|arrays| has(&archive, arrays.images)));
        Ok(holds_images.then_some(Holds::Samples))
    }

    fn holds_both_splits(&self, file: &Path) -> Result<bool> {
        let archive = open(file)?;
        Ok(LAYOUTS.iter().any(|arrays| arrays.split == Some(Split::Test) && has(&archive, arrays.images)))
    }

    fn read(&self, source: &Path, listing: Listing, _options: &DataOptions) -> Result<Dataset> {
        let [path] = &listing.samples[..] else {
            return Err(Error::format(source, "holds several .npz archives of images: give the path of one"));
        };
        let mut archive = open(path)?;
        let fits =
            |arrays: &&Arrays| arrays.split.is_none_or(|split| split == listing.split) && has(&archive, arrays.images);
        let Some(Arrays { images, labels, .. }) = LAYOUTS.iter().find(fits) else {
            return Err(Error::format(path, format!("holds no images of the {} split", listing.split)));
        };
        let wrong = |array: &str, reason: String| Error::format(path, format!("array {array}: {reason}"));
        let ([len, height, width, channels], pixels) =
            read_images(&mut archive, images).map_err(|reason| wrong(images, reason))?;
        let has_labels = has(&archive, labels);
        let labels = has_labels.then(|| read_labels(&mut archive, labels, len).map_err(|reason| wrong(labels, reason)));
        let (labels, class_names) = labels.transpose()?.map(number).unzip();
        Ok(Dataset {
            name: display_name(source),
            format: "npz".into(),
            len,
            height,
            width,
            channels,
            samples: Samples::in_memory(pixels),
            labels,
            class_names: class_names.unwrap_or_default(),
            notes: listing.notes,
        })
    }
}

fn open(path: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(Error::io(path))?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| Error::format(path, format!("no .npz file: {e}")))
}

fn has(archive: &Archive, array: &str) -> bool {
    archive.index_for_name(&format!("{array}.npy")).is_some()
}

/// An array in row-major order, and the type of its elements.
struct Array {
    dims: Vec<usize>,
    kind: (TypeChar, Endianness, usize),
    bytes: Vec<u8>,
}

/// Reads an array, no more than its header promises.
fn read_array(archive: &mut Archive, name: &str) -> Result<Array, String> {
    let mut entry = archive.by_name(&format!("{name}.npy")).map_err(|e| e.to_string())?;
    let header = NpyHeader::from_reader(&mut entry).map_err(|_| "its header is damaged".to_owned())?;
    let dims: Vec<usize> = header.shape().iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
    let kind = match header.dtype() {
        DType::Plain(kind) => kind.num_bytes().map(|width| (kind.type_char(), kind.endianness(), width)),
        _ => None,
    };
    let Some(kind) = kind.filter(|_| header.order() == Order::C) else {
        return Err("numbers in row-major order are read, not records or columns".into());
    };
    let promised = dims.iter().try_fold(kind.2, |product, dim| product.checked_mul(*dim));
    let Some(promised) = promised.filter(|bytes| (1..=MOST_INFLATED).contains(bytes)) else {
        return Err(format!("it promises {dims:?}; 1 to {MOST_INFLATED} bytes are read"));
    };
    let mut bytes = Vec::new();
    entry.take(promised as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() != promised {
        return Err(format!("truncated: its header promises {promised} bytes of data, but {} follow", bytes.len()));
    }
    Ok(Array { dims, kind, bytes })
}

/// Dimensions and bytes of an array of images.
fn read_images(archive: &mut Archive, name: &str) -> Result<([usize; 4], Vec<u8>), String> {
    let Array { dims, kind, bytes } = read_array(archive, name)?;
    let dims = match dims[..] {
        [n, h, w, c @ (1 | 3)] => [n, h, w, c],
        [n, h, w] => [n, h, w, 1],
        _ => return Err(format!("images [n, h, w] or [n, h, w, c] with 1 or 3 channels are read, not {dims:?}")),
    };
    if !matches!(kind, (TypeChar::Uint, _, 1)) {
        let advice = "save it as uint8, from 0 (black) to 255";
        return Err(format!("images of bytes are read, not of {} bytes of the type {}: {advice}", kind.2, kind.0));
    }
    Ok((dims, bytes))
}

/// Labels `[n]` or `[n, 1]` of `len` images.
fn read_labels(archive: &mut Archive, name: &str, len: usize) -> Result<Vec<u32>, String> {
    const LAST_CLASS: u32 = super::format::LAST_CLASS;
    let Array { dims, kind: (kind, order, width), mut bytes } = read_array(archive, name)?;
    if dims != [len] && dims != [len, 1] {
        return Err(format!("holds {dims:?} labels for {len} images"));
    }
    let signed = match kind {
        TypeChar::Int => true,
        TypeChar::Uint => false,
        other => return Err(format!("labels are integers, not of the type {other}")),
    };
    let integer = |bytes: &mut [u8]| {
        if order == Endianness::Big {
            bytes.reverse();
        }
        let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let unused = 64 - 8 * width as u32;
        if signed { i128::from((value << unused) as i64 >> unused) } else { i128::from(value) }
    };
    let label = |n: i128| {
        let label = u32::try_from(n).ok().filter(|&label| label <= LAST_CLASS);
        label.ok_or_else(|| format!("{n}; classes are numbered 0 to {LAST_CLASS}"))
    };
    bytes.chunks_exact_mut(width).map(|bytes| label(integer(bytes))).collect()
}
