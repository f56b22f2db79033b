//! The interface of a file format: recognise, pair, read, describe.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use crate::data::{classes::ClassFilter, dataset::Dataset, options::DataOptions};
use crate::{Error, Result};

/// A file format of data sets: recognises a file, reads the files of a split, and describes itself.
pub(in crate::data) trait Format: Debug + Sync {
    /// The words for this format in lists and messages.
    fn describe(&self) -> Description;

    /// Recognises a file by its content: does it hold samples, or labels?
    ///
    /// # Errors
    /// A file that cannot be read.
    fn recognise(&self, head: &Head) -> Result<Option<Holds>>;

    /// Guesses from its name what a file that no format recognises was meant to hold. Such a file is damaged: it is
    /// read all the same, so that the reader can explain how.
    fn meant(&self, _path: &Path) -> Option<Holds> {
        None
    }

    /// True where the sub-folders of a folder are classes of samples.
    fn has_class_folders(&self) -> bool {
        false
    }

    /// The kinds of labels, where there are several; the first is the usual one.
    fn label_kinds(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// True where the files name their labels themselves: then `read` refuses a kind that they do not have.
    fn names_labels(&self) -> bool {
        false
    }

    /// Pairs files of samples with files of labels; both are of one split of `folder`.
    ///
    /// # Errors
    /// Files that do not make up one data set.
    fn pair(&self, _folder: &Path, samples: Vec<PathBuf>, _labels: &[PathBuf]) -> Result<Listing> {
        Ok(Listing::of(samples))
    }

    /// Reads a data set. `source` is the file or folder that the user named.
    ///
    /// # Errors
    /// Damaged files, or options that do not fit the data.
    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset>;
}

/// The words for a format.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct Description {
    /// A folder of it, to write after `--data`: "DIR with idx files".
    pub source: &'static str,
    /// The sets that come in it, and the names of their files.
    pub contents: &'static str,
    /// A single file of it: "one idx file of images".
    pub file: &'static str,
    /// Its files: "idx files".
    pub files: &'static str,
}

/// The contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Holds {
    /// Samples, or a part of them.
    Samples,
    /// Labels of the samples in another file.
    Labels,
}

/// The files of a split.
#[derive(Debug, Default)]
pub(in crate::data) struct Listing {
    /// The files that hold samples, in their order.
    pub samples: Vec<PathBuf>,
    /// The file that holds the labels of all samples.
    pub labels: Option<PathBuf>,
    /// The classes of samples that lie in class folders, one a file.
    pub classes: Option<Classes>,
    /// Remarks for the user: what was left out, and why.
    pub notes: Vec<String>,
}

/// The class of each file, and the names of the classes.
#[derive(Debug)]
pub(in crate::data) struct Classes {
    pub labels: Vec<u32>,
    pub names: Vec<String>,
}

impl Listing {
    /// Files without labels.
    pub fn of(samples: Vec<PathBuf>) -> Listing {
        Listing { samples, ..Listing::default() }
    }

    /// The files of the chosen classes; `name` is that of the data set.
    ///
    /// # Errors
    /// A class of which there is no file.
    pub fn select(self, name: &str, filter: &ClassFilter) -> Result<Listing> {
        let (labels, names) = self.classes.map_or_else(Default::default, |classes| (classes.labels, classes.names));
        let chosen = filter.apply(name, &labels, &names)?;
        let samples = chosen.kept.iter().map(|&i| self.samples[i].clone()).collect();
        let classes = Some(Classes { labels: chosen.labels, names: chosen.class_names });
        Ok(Listing { samples, classes, ..self })
    }
}

/// Bytes at a file's beginning that formats are recognised by.
const HEAD_BYTES: u64 = 512;

/// The beginning of a file.
pub(in crate::data) struct Head<'a> {
    pub path: &'a Path,
    /// The first bytes, decompressed where the file is a gzip stream.
    pub bytes: Vec<u8>,
    pub is_gzip: bool,
    /// Length of the file in bytes, as it lies on the disk.
    pub length: u64,
}

impl Head<'_> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or a damaged gzip stream.
    pub fn read(path: &Path) -> Result<Head<'_>> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut bytes = Vec::new();
        file.by_ref().take(HEAD_BYTES).read_to_end(&mut bytes).map_err(Error::io(path))?;
        let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
        if is_gzip {
            bytes.clear();
            file.rewind().map_err(Error::io(path))?;
            MultiGzDecoder::new(file).take(HEAD_BYTES).read_to_end(&mut bytes).map_err(|e| gzip_error(path, e))?;
        }
        Ok(Head { path, bytes, is_gzip, length })
    }

    /// The extension of the file's name in lower case.
    pub fn extension(&self) -> String {
        self.path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
    }
}

/// Bytes of the largest array that is inflated into memory, 8 GiB; a plain idx file is mapped and may have any size.
pub(in crate::data) const MOST_INFLATED: usize = 8 << 30;

/// The largest class number.
pub(in crate::data) const LAST_CLASS: u32 = 65_535;

/// Classes that are called by their numbers.
pub(in crate::data) fn number(labels: Vec<u32>) -> (Vec<u32>, Vec<String>) {
    let classes = labels.iter().max().map_or(0, |&last| last + 1);
    (labels, (0..classes).map(|class| class.to_string()).collect())
}

/// An error while decompressing: a stream that stops early, or one that is wrong.
pub(in crate::data) fn gzip_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::format(path, "truncated: the gzip stream ends early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Error::format(path, format!("corrupt gzip file: {error}"))
        }
        _ => Error::io(path)(error),
    }
}
