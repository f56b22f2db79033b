//! The beginning of a file, by which its format is recognised, and gzip streams.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

/// Bytes at a file's beginning that formats are recognised by.
pub(super) const HEAD_BYTES: u64 = 512;

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
