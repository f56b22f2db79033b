//! The Python versions of CIFAR, which torchvision downloads: pickled dicts with an array of images, stored as planes, and
//! lists of labels.

use std::path::Path;

use rayon::prelude::*;

use super::cifar::{PIXELS, interleaved, numbered};
use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    archive::Bytes,
    dataset::{Dataset, Samples},
    names::{display_name, file_name},
    options::DataOptions,
};
use crate::pickle::{Array, Pickle};
use crate::{Error, Result};

/// A member of the family.
#[derive(Debug)]
pub(super) struct CifarPython {
    name: &'static str,
    words: Description,
    /// The kinds of labels; the first is the usual one.
    labels: &'static [Labels],
    /// The pickle beside the batches that holds the names of the classes.
    meta: &'static str,
}

/// A list of labels.
#[derive(Debug)]
struct Labels {
    kind: &'static str,
    classes: usize,
    /// Its key in a batch.
    key: &'static str,
    /// The key of the names in the file beside the batches.
    names: &'static str,
}

pub(super) const CIFAR_10: CifarPython = CifarPython {
    name: "CIFAR-10",
    words: Description {
        source: "DIR with CIFAR-10 Python",
        contents: "data_batch_1 ... test_batch, batches.meta (cifar-10-batches-py, as torchvision unpacks it)",
        file: "one pickled CIFAR-10 batch",
        files: "pickled CIFAR-10 batches",
    },
    labels: &[Labels { kind: "classes", classes: 10, key: "labels", names: "label_names" }],
    meta: "batches.meta",
};

pub(super) const CIFAR_100: CifarPython = CifarPython {
    name: "CIFAR-100",
    words: Description {
        source: "DIR with CIFAR-100 Python",
        contents: "train, test, meta (cifar-100-python, as torchvision unpacks it); labels fine or coarse",
        file: "one pickled CIFAR-100 batch",
        files: "pickled CIFAR-100 batches",
    },
    labels: &[
        Labels { kind: "fine", classes: 100, key: "fine_labels", names: "fine_label_names" },
        Labels { kind: "coarse", classes: 20, key: "coarse_labels", names: "coarse_label_names" },
    ],
    meta: "meta",
};

/// Bytes of the largest pickle that is looked at; CIFAR-100 has 155 million.
const MOST_BYTES: u64 = 1 << 30;

impl Format for CifarPython {
    fn describe(&self) -> Description {
        self.words
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if head.is_gzip || !matches!(head.bytes[..], [0x80, 2..=5, ..]) || head.length > MOST_BYTES {
            return Ok(None);
        }
        let bytes = Bytes::map(head.path)?;
        let Ok(pickle) = Pickle::read(bytes.as_ref(), &Array::CALLS) else { return Ok(None) };
        let has = |key: &str| pickle.value(pickle.top(), key).is_some();
        Ok((has("data") && has(self.labels[0].key)).then_some(Holds::Samples))
    }

    fn label_kinds(&self) -> Vec<&'static str> {
        self.labels.iter().map(|labels| labels.kind).collect()
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        let name = file_name(path);
        let is_batch =
            name == "test_batch" || name.strip_prefix("data_batch_").is_some_and(|n| n.parse::<u8>().is_ok());
        (is_batch && self.name == CIFAR_10.name).then_some(Holds::Samples)
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        let asked = options.labels.as_deref();
        let kind = self.labels.iter().find(|of| Some(of.kind) == asked).unwrap_or(&self.labels[0]);
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for path in &listing.samples {
            let bytes = Bytes::map(path)?;
            read_batch(bytes.as_ref(), kind, &mut pixels, &mut labels).map_err(|reason| Error::format(path, reason))?;
        }
        Ok(Dataset {
            name: display_name(source),
            format: format!("{} Python", self.name),
            len: labels.len(),
            height: super::cifar::SIDE,
            width: super::cifar::SIDE,
            channels: 3,
            samples: Samples::in_memory(pixels),
            labels: Some(labels),
            notes: listing.notes,
            class_names: kind.class_names(&listing.samples[0].with_file_name(self.meta)),
        })
    }
}

/// Adds the images and labels of a batch.
fn read_batch(bytes: &[u8], kind: &Labels, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<(), String> {
    let pickle = Pickle::read(bytes, &Array::CALLS)?;
    let data = pickle.value(pickle.top(), "data").ok_or("the pickle has no key \"data\"")?;
    let array = pickle.array(data).ok_or("\"data\" is no array of NumPy in row-major order")?;
    let Array { dims, kind: element, bytes } = array;
    let [n, PIXELS] = dims[..] else { return Err(format!("\"data\" has the shape {dims:?}, not [n, {PIXELS}]")) };
    if element != "u1" || n.checked_mul(PIXELS) != Some(bytes.len()) || n == 0 {
        let length = bytes.len();
        return Err(format!(
            "\"data\" has {length} bytes for {dims:?} elements of the type {element}, not one byte each"
        ));
    }
    let key = kind.key;
    let list = pickle.value(pickle.top(), key).and_then(|list| pickle.items(list));
    let list = list.ok_or_else(|| format!("the pickle has no list of \"{key}\""))?;
    if list.len() != n {
        return Err(format!("\"{key}\" has {} labels for {n} images", list.len()));
    }
    for (i, &item) in list.iter().enumerate() {
        let label =
            pickle.int(item).and_then(|label| usize::try_from(label).ok()).filter(|label| *label < kind.classes);
        let label = label.ok_or_else(|| format!("\"{key}\": entry {i} is no class from 0 to {}", kind.classes - 1))?;
        labels.push(label as u32);
    }
    pixels.par_extend(bytes.par_chunks_exact(PIXELS).flat_map_iter(interleaved));
    Ok(())
}

impl Labels {
    /// The names in the file beside the batches, or else the numbers.
    fn class_names(&self, meta: &Path) -> Vec<String> {
        let names = || {
            let bytes = Bytes::map(meta).ok()?;
            let pickle = Pickle::read(bytes.as_ref(), &Array::CALLS).ok()?;
            let names = pickle.items(pickle.value(pickle.top(), self.names)?)?.iter();
            let names = names.map(|&name| Some(String::from_utf8_lossy(pickle.bytes(name)?).into_owned()));
            names.collect::<Option<Vec<String>>>()
        };
        names().filter(|names| names.len() == self.classes).unwrap_or_else(|| numbered(self.classes))
    }
}
