//! The interface of a file format: recognise, pair, read, describe.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use crate::Result;
pub(in crate::data) use crate::data::head::{Head, MOST_INFLATED, gzip_error};
use crate::data::{
    classes::ClassFilter,
    dataset::{Dataset, Split},
    options::DataOptions,
    tree::Tree,
};

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

    /// True of a file that holds the samples to train on and those to test on.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn holds_both_splits(&self, _file: &Path) -> Result<bool> {
        Ok(false)
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
    /// The split to read, of a file that holds both.
    pub split: Split,
    /// The archives that lie on the way to the samples.
    pub tree: Tree,
    /// The file that holds the labels of all samples.
    pub labels: Option<PathBuf>,
    /// The classes of samples that lie in class folders, one a file.
    pub classes: Option<Classes>,
    /// Remarks for the user: what was left out, and why.
    pub notes: Vec<String>,
}

/// The class of each file, and the names of the classes.
#[derive(Debug, Default)]
pub(in crate::data) struct Classes {
    /// The origin of the classes, in words: "a sub-folder per class".
    pub origin: &'static str,
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
        let Classes { origin, labels, names } = self.classes.unwrap_or_default();
        let chosen = filter.apply(name, &labels, &names)?;
        let samples = chosen.kept.iter().map(|&i| self.samples[i].clone()).collect();
        let classes = Some(Classes { origin, labels: chosen.labels, names: chosen.class_names });
        Ok(Listing { samples, classes, ..self })
    }
}

/// The largest class number.
pub(in crate::data) const LAST_CLASS: u32 = 65_535;

/// Classes that are called by their numbers.
pub(in crate::data) fn number(labels: Vec<u32>) -> (Vec<u32>, Vec<String>) {
    let classes = labels.iter().max().map_or(0, |&last| last + 1);
    (labels, (0..classes).map(|class| class.to_string()).collect())
}
