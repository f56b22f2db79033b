//! Zip archives, by the crate `zip`: stored or deflated entries, with 64-bit sizes too.

use std::{
    io::{Cursor, Read},
    path::Path,
};

use ::zip::{CompressionMethod, ZipArchive};

use super::bytes::Bytes;
use super::limit::{MOST_ENTRY, too_long};
use crate::data::names::file_name;

/// The entries of a zip archive.
#[derive(Debug)]
pub(super) struct Entries {
    archive: ZipArchive<Cursor<Bytes>>,
}

/// Reads the directory of an archive. A folder's name ends in a slash.
pub(super) fn open(path: &Path, bytes: Bytes) -> Result<(Entries, Vec<String>), String> {
    let length = bytes.as_ref().len() as u64;
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("damaged zip archive: {e}"))?;
    let (mut names, mut packed) = (Vec::with_capacity(archive.len()), 0u64);
    for place in 0..archive.len() {
        let entry = archive.by_index_data(place).map_err(|e| format!("damaged zip archive: {e}"))?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(_) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
        };
        if entry.encrypted() {
            let unpack = format!("unpack it with its password (unzip {}) and give the folder", file_name(path));
            return Err(format!("{name} is encrypted: {unpack}"));
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            let method = entry.compression();
            return Err(format!(
                "{name} is packed by {method}; stored and deflated entries are read: pack it anew (zip -r)"
            ));
        }
        packed = packed.saturating_add(entry.compressed_size());
        names.push(name);
    }
    // A bomb is small because many entries share the same bytes.
    if packed > length {
        return Err(format!("its entries promise {packed} packed bytes, but the archive has {length}: they overlap"));
    }
    Ok((Entries { archive }, names))
}

impl Entries {
    /// The first bytes of an entry, and its length.
    pub fn head(&self, place: usize, limit: u64) -> Result<(Vec<u8>, u64), String> {
        let mut archive = self.archive.clone();
        let entry = archive.by_index(place).map_err(damaged)?;
        let (promised, mut head) = (entry.size(), Vec::new());
        entry.take(limit.min(promised)).read_to_end(&mut head).map_err(damaged)?;
        Ok((head, promised))
    }

    /// The bytes of an entry: as many as are promised, or it is an error.
    pub fn read(&self, place: usize) -> Result<Vec<u8>, String> {
        let mut archive = self.archive.clone();
        let entry = archive.by_index(place).map_err(damaged)?;
        let (promised, mut bytes) = (entry.size(), Vec::new());
        if promised > MOST_ENTRY {
            return Err(too_long(promised));
        }
        // Asked for one byte more, the reader compares the checksum and sees that nothing follows.
        entry.take(promised + 1).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 != promised {
            return Err(format!("damaged: the archive promises {promised} bytes, but {} follow", bytes.len()));
        }
        Ok(bytes)
    }
}

fn damaged(error: impl ToString) -> String {
    format!("damaged: {}", error.to_string().replace('\n', " "))
}
