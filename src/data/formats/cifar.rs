//! The binary batches of CIFAR: records of label bytes and a 32x32 image, stored as a red, a green and a blue plane.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::Path,
};

use rayon::prelude::*;

use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    dataset::{Dataset, Samples},
    names::display_name,
    options::DataOptions,
};
use crate::{Error, Result};

pub(super) const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// Bytes of an image.
pub(super) const PIXELS: usize = 3 * PLANE;

/// A member of the family, by the labels at the head of its records.
#[derive(Debug)]
pub(super) struct Cifar {
    name: &'static str,
    words: Description,
    /// One for each label byte of a record, in their order; the last is the usual one.
    labels: &'static [Labels],
}

/// A label byte.
#[derive(Debug)]
struct Labels {
    kind: &'static str,
    classes: u8,
    /// The file beside the batches that holds the names of the classes, one a line.
    names_file: &'static str,
}

pub(super) const CIFAR_10: Cifar = Cifar {
    name: "CIFAR-10",
    words: Description {
        source: "DIR with CIFAR-10 binary",
        contents: "data_batch_1.bin ... test_batch.bin, batches.meta.txt (cifar-10-binary.tar.gz, unpacked)",
        file: "one CIFAR-10 batch",
        files: "CIFAR-10 batches",
    },
    labels: &[Labels { kind: "classes", classes: 10, names_file: "batches.meta.txt" }],
};

pub(super) const CIFAR_100: Cifar = Cifar {
    name: "CIFAR-100",
    words: Description {
        source: "DIR with CIFAR-100 binary",
        contents: "train.bin, test.bin, fine_label_names.txt (cifar-100-binary.tar.gz, unpacked); labels fine or coarse",
        file: "one CIFAR-100 batch",
        files: "CIFAR-100 batches",
    },
    labels: &[
        Labels { kind: "coarse", classes: 20, names_file: "coarse_label_names.txt" },
        Labels { kind: "fine", classes: 100, names_file: "fine_label_names.txt" },
    ],
};

const FAMILY: [&Cifar; 2] = [&CIFAR_10, &CIFAR_100];

impl Cifar {
    /// Bytes of a record.
    fn record(&self) -> usize {
        self.labels.len() + 3 * PLANE
    }

    /// The first label of a record that names no class, with its place among the labels.
    fn wrong_label(&self, record: &[u8]) -> Option<(u8, &Labels)> {
        record.iter().copied().zip(self.labels).find(|(label, of)| *label >= of.classes)
    }
}

impl Format for Cifar {
    fn describe(&self) -> Description {
        self.words
    }

    /// Every record begins with labels. A file cut short is still recognised, so that reading it can say so, unless it
    /// is a whole number of another member's records; but a single record must be complete to be believed.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        if head.is_gzip || head.length == 0 || !self.labels_fit(head)? {
            return Ok(None);
        }
        if !self.is_whole(head) {
            let others = FAMILY.iter().filter(|of| of.is_whole(head)).map(|of| of.labels_fit(head));
            let is_other = others.collect::<Result<Vec<bool>>>()?.contains(&true);
            if is_other || head.length <= 2 * self.record() as u64 {
                return Ok(None);
            }
        }
        Ok(Some(Holds::Samples))
    }

    fn label_kinds(&self) -> Vec<&'static str> {
        self.labels.iter().rev().map(|labels| labels.kind).collect()
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        path.extension().is_some_and(|extension| extension == "bin").then_some(Holds::Samples)
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        let mut records = Vec::new();
        for path in &listing.samples {
            records.extend(self.read_batch(path)?);
        }
        let usual = self.labels.len() - 1;
        let asked = options.labels.as_ref();
        let label_byte = asked.and_then(|kind| self.labels.iter().position(|of| of.kind == kind)).unwrap_or(usual);
        let images = records.par_chunks_exact(self.record()).map(|record| &record[self.labels.len()..]);
        let pixels = images.flat_map_iter(interleaved);
        let labels = records.chunks_exact(self.record()).map(|record| u32::from(record[label_byte]));
        Ok(Dataset {
            name: display_name(source),
            format: format!("{} binary", self.name),
            len: records.len() / self.record(),
            height: SIDE,
            width: SIDE,
            channels: 3,
            samples: Samples::in_memory(pixels.collect()),
            labels: Some(labels.collect()),
            notes: listing.notes,
            class_names: self.labels[label_byte].class_names(&listing.samples[0]),
        })
    }
}

impl Cifar {
    /// True of a file that is a whole number of records.
    fn is_whole(&self, head: &Head) -> bool {
        head.length.is_multiple_of(self.record() as u64)
    }

    /// Looks at the labels of all records; stops at the first byte that is none.
    fn labels_fit(&self, head: &Head) -> Result<bool> {
        let mut file = BufReader::new(File::open(head.path).map_err(Error::io(head.path))?);
        let mut labels = vec![0; self.labels.len()];
        for first in (0..head.length).step_by(self.record()) {
            let present = labels.len().min((head.length - first) as usize);
            file.read_exact(&mut labels[..present]).map_err(Error::io(head.path))?;
            if self.wrong_label(&labels[..present]).is_some() {
                return Ok(false);
            }
            file.seek_relative(3 * PLANE as i64).map_err(Error::io(head.path))?;
        }
        Ok(true)
    }

    /// The checked records of a file.
    fn read_batch(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        if bytes.is_empty() || bytes.len() % self.record() != 0 {
            let (length, record) = (bytes.len(), self.record());
            let whole = format!("a whole number of {record}-byte {} records", self.name);
            return Err(Error::format(path, format!("truncated: {length} bytes are not {whole}")));
        }
        for (i, record) in bytes.chunks_exact(self.record()).enumerate() {
            if let Some((label, Labels { classes, .. })) = self.wrong_label(record) {
                let reason = format!("record {i} has label {label}; {} has 0 to {}", self.name, classes - 1);
                return Err(Error::format(path, reason));
            }
        }
        Ok(bytes)
    }
}

impl Labels {
    /// The names in the file beside a batch, or else the numbers.
    fn class_names(&self, batch: &Path) -> Vec<String> {
        let text = fs::read_to_string(batch.with_file_name(self.names_file)).unwrap_or_default();
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
        let classes = usize::from(self.classes);
        if names.len() == classes { names } else { numbered(classes) }
    }
}

/// The pixels of an image that is stored as a red, a green and a blue plane.
pub(super) fn interleaved(planes: &[u8]) -> impl Iterator<Item = u8> {
    (0..PLANE).flat_map(move |i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]])
}

/// The names of classes that are called by their numbers.
pub(super) fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Split, open};

    /// Records of CIFAR-100 whose pixels are all `shade`.
    fn records(labels: &[[u8; 2]], shade: u8) -> Vec<u8> {
        labels.iter().flat_map(|labels| labels.iter().copied().chain([shade; 3 * PLANE])).collect()
    }

    /// Black images: seen as CIFAR-10, nearly every byte would be a label.
    #[test]
    fn cifar_100_is_told_from_cifar_10_and_has_two_kinds_of_labels() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("train.bin", &records(&[[4, 30], [1, 99], [0, 7]], 0));
        write("test.bin", &records(&[[19, 0]], 9));
        write("coarse_label_names.txt", &(0..20).map(|i| format!("group {i}\n")).collect::<String>().into_bytes());
        let source = folder.path().to_str().unwrap();
        let labels = |labels: &str| DataOptions { labels: Some(labels.into()), ..DataOptions::default() };

        let fine = open(source, Split::Train, &DataOptions::default()).unwrap();
        assert_eq!((fine.format(), fine.len(), fine.image_dims()), ("CIFAR-100 binary", 3, [32, 32, 3]));
        assert_eq!((fine.labels().unwrap(), fine.class_names().len()), (&[30, 99, 7][..], 100));
        let coarse = open(source, Split::Train, &labels("coarse")).unwrap();
        assert_eq!(coarse.labels().unwrap(), [4, 1, 0]);
        assert_eq!(coarse.class_names()[19], "group 19");
        assert_eq!(open(source, Split::Test, &labels("coarse")).unwrap().labels().unwrap(), [19]);
        let message = open(source, Split::Train, &labels("colours")).unwrap_err().to_string();
        assert!(message.contains("no labels called \"colours\": it has fine and coarse"), "{message}");

        write("train.bin", &records(&[[4, 30], [20, 99], [0, 7]], 200));
        let message = open(source, Split::Train, &DataOptions::default()).unwrap_err().to_string();
        assert!(message.contains("record 1 has label 20; CIFAR-100 has 0 to 19"), "{message}");
    }
}
