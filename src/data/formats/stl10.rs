//! STL-10's binary files: images as three planes, each stored column by column, and in a file beside them a byte a label,
//! counted from 1.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::cifar::numbered;
use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    archive::Bytes,
    dataset::{Dataset, Samples},
    names::{display_name, file_name},
    options::DataOptions,
};
use crate::{Error, Result};

/// The format of STL-10.
#[derive(Debug)]
pub(super) struct Stl10;

const SIDE: usize = 96;
const PLANE: usize = SIDE * SIDE;
const CLASSES: usize = 10;

impl Format for Stl10 {
    fn describe(&self) -> Description {
        Description {
            source: "DIR with STL-10",
            contents: "train_X.bin, train_y.bin, test_X.bin, test_y.bin, class_names.txt (stl10_binary.tar.gz, unpacked)",
            file: "one STL-10 file of images",
            files: "STL-10 files",
        }
    }

    /// The files have no header: they are known by their names.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        Ok(self.meant(head.path).filter(|_| !head.is_gzip && head.length > 0))
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        match file_name(path).as_str() {
            "train_X.bin" | "test_X.bin" | "unlabeled_X.bin" => Some(Holds::Samples),
            "train_y.bin" | "test_y.bin" => Some(Holds::Labels),
            _ => None,
        }
    }

    fn pair(&self, folder: &Path, samples: Vec<PathBuf>, _labels: &[PathBuf]) -> Result<Listing> {
        let [images] = &samples[..] else {
            return Err(Error::format(folder, "holds several files of images: give the path of one"));
        };
        let labels = images.with_file_name(file_name(images).replace("_X", "_y"));
        Ok(Listing { labels: labels.exists().then_some(labels), ..Listing::of(samples) })
    }

    fn read(&self, source: &Path, listing: Listing, _options: &DataOptions) -> Result<Dataset> {
        let path = &listing.samples[0];
        let bytes = Bytes::map(path)?;
        let images = bytes.as_ref();
        if images.is_empty() || images.len() % (3 * PLANE) != 0 {
            let length = images.len();
            return Err(Error::format(
                path,
                format!("truncated: {length} bytes are not a whole number of images of {SIDE}x{SIDE}"),
            ));
        }
        let len = images.len() / (3 * PLANE);
        let upright = |image: &[u8]| {
            let image = image.to_vec();
            (0..PLANE).flat_map(move |i| {
                let at = i % SIDE * SIDE + i / SIDE;
                [image[at], image[PLANE + at], image[2 * PLANE + at]]
            })
        };
        let pixels = images.par_chunks_exact(3 * PLANE).flat_map_iter(upright).collect();
        let labels = listing.labels.map(|labels| read_labels(&labels, len)).transpose()?;
        let names = fs::read_to_string(path.with_file_name("class_names.txt")).unwrap_or_default();
        let names: Vec<String> = names.split_whitespace().map(String::from).collect();
        let names = if names.len() == CLASSES { names } else { numbered(CLASSES) };
        Ok(Dataset {
            name: display_name(source),
            format: "STL-10 binary".into(),
            len,
            height: SIDE,
            width: SIDE,
            channels: 3,
            samples: Samples::in_memory(pixels),
            class_names: if labels.is_some() { names } else { Vec::new() },
            labels,
            notes: listing.notes,
        })
    }
}

/// The labels of `len` images, counted from 0.
fn read_labels(path: &Path, len: usize) -> Result<Vec<u32>> {
    let bytes = Bytes::map(path)?;
    let bytes = bytes.as_ref();
    if bytes.len() != len {
        return Err(Error::format(path, format!("holds {} labels, but there are {len} images", bytes.len())));
    }
    let label = |(i, &byte): (usize, &u8)| match byte {
        1..=10 => Ok(u32::from(byte) - 1),
        _ => Err(Error::format(path, format!("label {i} is {byte}; STL-10 has 1 to {CLASSES}"))),
    };
    bytes.iter().enumerate().map(label).collect()
}
