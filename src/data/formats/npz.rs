//! Samples as improved-diffusion and guided-diffusion write them: a `.npz` archive with images `arr_0 [n, h, w, c]` of
//! bytes and, of a model with classes, labels `arr_1 [n]`.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use npyz::{DType, NpyFile, NpyHeader, Order};
use zip::{ZipArchive, read::ZipFile, result::ZipError};

use super::format::{Description, Format, Head, Holds, Listing, MOST_INFLATED, number};
use crate::data::{
    dataset::{Dataset, Samples},
    names::display_name,
    options::DataOptions,
};
use crate::{Error, Result};

/// Archives of NumPy arrays.
#[derive(Debug)]
pub(super) struct Npz;

const IMAGES: &str = "arr_0.npy";
const LABELS: &str = "arr_1.npy";

type Archive = ZipArchive<BufReader<File>>;

impl Format for Npz {
    fn describe(&self) -> Description {
        Description {
            source: "FILE.npz",
            contents: "samples of improved-diffusion: arr_0 [n, h, w, c] of bytes, labels arr_1",
            file: "one .npz of images",
            files: ".npz archives of images",
        }
    }

    /// Archives of other arrays, such as statistics of features, are no data.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if !head.bytes.starts_with(b"PK\x03\x04") || head.extension() != "npz" {
            return Ok(None);
        }
        let holds_images = open(head.path).is_ok_and(|mut archive| archive.by_name(IMAGES).is_ok());
        Ok(holds_images.then_some(Holds::Samples))
    }

    fn read(&self, source: &Path, listing: Listing, _options: &DataOptions) -> Result<Dataset> {
        let [path] = &listing.samples[..] else {
            return Err(Error::format(source, "holds several .npz archives of images: give the path of one"));
        };
        let mut archive = open(path)?;
        let refuse = |reason: String| Error::format(path, format!("array arr_0: {reason}"));
        let images = archive.by_name(IMAGES).map_err(|e| refuse(e.to_string()))?;
        let ([len, height, width, channels], pixels) = read_images(images).map_err(refuse)?;
        let labels = match archive.by_name(LABELS) {
            Ok(entry) => Some(read_labels(entry, len).map_err(|e| Error::format(path, format!("array arr_1: {e}")))?),
            Err(ZipError::FileNotFound) => None,
            Err(e) => return Err(Error::format(path, format!("array arr_1: {e}"))),
        };
        let (labels, class_names) = labels.map(number).unzip();
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

/// Dimensions and bytes of an array of images; reads no more than its header promises.
fn read_images(mut entry: ZipFile<'_, BufReader<File>>) -> Result<([usize; 4], Vec<u8>), String> {
    let header = NpyHeader::from_reader(&mut entry).map_err(|e| e.to_string())?;
    let dims: Vec<usize> = header.shape().iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
    let [n, h, w, c @ (1 | 3)] = dims[..] else {
        return Err(format!("images [n, h, w, c] with 1 or 3 channels are read, not {dims:?}"));
    };
    let is_bytes = matches!(header.dtype(), DType::Plain(kind) if kind.to_string() == "|u1");
    if !is_bytes || header.order() != Order::C {
        return Err(format!("bytes in row-major order are read, not {}", header.dtype().descr()));
    }
    let promised = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    let Some(promised) = promised.filter(|bytes| (1..=MOST_INFLATED).contains(bytes)) else {
        return Err(format!("it promises {dims:?}; 1 to {MOST_INFLATED} bytes are read"));
    };
    let mut pixels = Vec::new();
    entry.take(promised as u64).read_to_end(&mut pixels).map_err(|e| e.to_string())?;
    if pixels.len() != promised {
        return Err(format!("truncated: its header promises {promised} bytes of data, but {} follow", pixels.len()));
    }
    Ok(([n, h, w, c], pixels))
}

/// Labels of `len` images.
fn read_labels(entry: ZipFile<'_, BufReader<File>>, len: usize) -> Result<Vec<u32>, String> {
    const LAST_CLASS: u32 = super::format::LAST_CLASS;
    let array = NpyFile::new(entry).map_err(|e| e.to_string())?;
    if array.shape() != [len as u64] {
        return Err(format!("holds {:?} labels for {len} images", array.shape()));
    }
    let labels = array.into_vec::<i64>().map_err(|e| e.to_string())?;
    let label = |&label: &i64| u32::try_from(label).ok().filter(|&label| label <= LAST_CLASS);
    labels.iter().map(|n| label(n).ok_or_else(|| format!("{n}; classes are numbered 0 to {LAST_CLASS}"))).collect()
}
