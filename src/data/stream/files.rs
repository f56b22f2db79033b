//! The interface of what image files are read from, and folders and archives, where each is a file of its own.

use std::fmt::Debug;
use std::path::PathBuf;

use crate::data::tree::Tree;
use crate::{Error, Result};

/// Image files in an order, read as they are needed.
pub(in crate::data) trait ImageFiles: Debug + Send + Sync {
    /// The blocks in which they lie.
    fn layout(&self) -> Layout;

    /// Reads the files of a block; where each file can be read by itself, it is a block.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn read(&self, block: usize) -> Result<Block>;

    /// Bytes of a file on average, as far as they are known.
    fn mean_bytes(&self) -> Option<usize> {
        None
    }

    /// The error of an image, which is named by its place.
    fn error(&self, row: usize, reason: String) -> Error;
}

/// The way in which image files lie on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::data) enum Layout {
    /// So many files, each of which can be read by itself.
    Single(usize),
    /// Blocks that are read as a whole, with the number of files in each.
    Blocks(Vec<u32>),
}

/// The bytes of some image files, one after the other.
#[derive(Debug, Default)]
pub(in crate::data) struct Block {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    pub fn push(&mut self, file: &[u8]) {
        self.bytes.extend_from_slice(file);
        self.ends.push(self.bytes.len());
    }

    /// The file at a place of the block.
    pub fn file(&self, place: usize) -> &[u8] {
        let first = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[first..self.ends[place]]
    }
}

/// Image files in folders, or in archives that are read like folders.
#[derive(Debug)]
pub(in crate::data) struct Loose {
    pub tree: Tree,
    pub files: Vec<PathBuf>,
}

impl ImageFiles for Loose {
    fn layout(&self) -> Layout {
        Layout::Single(self.files.len())
    }

    fn read(&self, block: usize) -> Result<Block> {
        let bytes = self.tree.read(&self.files[block])?;
        let ends = vec![bytes.len()];
        Ok(Block { bytes, ends })
    }

    fn error(&self, row: usize, reason: String) -> Error {
        self.tree.error(&self.files[row], reason)
    }
}
