//! Bytes to decode: of a file on the disk, or in memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    path::Path,
};

/// An open image file. One type for both places, so that every codec is compiled once.
#[derive(Debug)]
pub(in crate::data) enum Input {
    File(BufReader<File>),
    Memory(Cursor<Vec<u8>>),
}

impl Input {
    /// Opens a file on the disk.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> io::Result<Input> {
        Ok(Input::File(BufReader::new(File::open(path)?)))
    }

    /// Bytes that are in memory already, such as those of an archive's entry.
    pub fn of(bytes: Vec<u8>) -> Input {
        Input::Memory(Cursor::new(bytes))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(file) => file.read(buffer),
            Input::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Input::File(file) => file.fill_buf(),
            Input::Memory(bytes) => bytes.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Input::File(file) => file.consume(bytes),
            Input::Memory(memory) => memory.consume(bytes),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Input::File(file) => file.seek(to),
            Input::Memory(bytes) => bytes.seek(to),
        }
    }
}
