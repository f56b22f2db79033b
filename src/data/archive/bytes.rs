//! The bytes of a file that many threads read.

use std::{fs::File, path::Path, sync::Arc};

use crate::data::pixels::Pixels;
use crate::engine::device::map_file;
use crate::{Error, Result};

/// Bytes that are mapped or in memory, shared by their readers.
#[derive(Clone, Debug)]
pub(in crate::data) struct Bytes(Arc<Pixels>);

impl Bytes {
    /// Maps a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn map(path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(Error::io(path))?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Ok(Bytes::of(Vec::new()));
        }
        let map = map_file(&file).map_err(Error::io(path))?;
        Ok(Bytes(Arc::new(Pixels::Mapped { map, offset: 0 })))
    }

    /// Bytes in memory.
    pub fn of(bytes: Vec<u8>) -> Bytes {
        Bytes(Arc::new(Pixels::Memory(bytes)))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
