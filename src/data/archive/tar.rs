//! Tar archives, by the crate `tar`: plain ones are mapped, and of compressed ones the images and labels are inflated into
//! memory.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    ops::Range,
    path::Path,
};

use ::tar::{Archive, Entry};
use flate2::read::MultiGzDecoder;

use super::bytes::Bytes;
use super::limit::{MOST_ENTRY, too_long};
use crate::data::decode;
use crate::data::head::{MOST_INFLATED, gzip_error};
use crate::{Error, Result};

/// Bytes that an archive is divided into.
const BLOCK: u64 = 512;
/// Bytes that tell what a file is.
const HEAD: u64 = 512;
/// Files besides images that are read: labels.
const LABEL_FILES: [&str; 3] = ["cls", "json", "txt"];

/// The entries of a tar archive.
#[derive(Debug)]
pub(super) struct Entries {
    bytes: Bytes,
    entries: Vec<Place>,
}

/// The place of an entry among the bytes, of which `promised` belong to it; fewer may have been kept.
#[derive(Debug)]
struct Place {
    range: Range<usize>,
    promised: u64,
}

/// True of the first bytes of a tar archive.
pub(in crate::data) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Finds the entries of an archive in memory. A folder's name ends in a slash.
pub(super) fn map(bytes: &Bytes) -> Result<(Entries, Vec<String>), String> {
    let length = bytes.as_ref().len() as u64;
    let (mut entries, mut names, mut last) = (Vec::new(), Vec::new(), 0);
    let mut archive = Archive::new(Cursor::new(bytes.clone()));
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let (start, promised) = (entry.raw_file_position(), entry.size());
        let end = start.checked_add(promised).filter(|end| *end <= length).ok_or_else(|| {
            let (name, follow) =
                (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), length.saturating_sub(start));
            format!("truncated: {name} should have {promised} bytes, but {follow} follow")
        })?;
        last = end.next_multiple_of(BLOCK);
        let Some(name) = name(&entry) else { continue };
        entries.push(Place { range: start as usize..end as usize, promised });
        names.push(name);
    }
    if bytes.as_ref().get(last as usize..(last + BLOCK) as usize).is_none_or(|end| end.iter().any(|byte| *byte != 0)) {
        return Err("truncated: the zeros that end a tar archive are missing".into());
    }
    Ok((Entries { bytes: bytes.clone(), entries }, names))
}

/// Inflates the images and labels of an archive in a gzip stream; of other files the beginning, which tells what they are.
pub(super) fn inflate(path: &Path) -> Result<(Entries, Vec<String>)> {
    let stream = MultiGzDecoder::new(File::open(path).map_err(Error::io(path))?);
    let mut archive = Archive::new(stream);
    let (mut bytes, mut entries, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for entry in archive.entries().map_err(|e| stream_error(path, e))? {
        let mut entry = entry.map_err(|e| stream_error(path, e))?;
        let Some(name) = name(&entry) else { continue };
        let (start, promised) = (bytes.len(), entry.size());
        let mut keep = |bytes: &mut Vec<u8>, up_to: u64| {
            let wanted = (start as u64 + promised.min(up_to)).saturating_sub(bytes.len() as u64);
            entry.by_ref().take(wanted).read_to_end(bytes).map_err(|e| stream_error(path, e))
        };
        keep(&mut bytes, HEAD)?;
        if promised <= MOST_ENTRY && (decode::is_image(&bytes[start..]) || is_named_so(&name)) {
            keep(&mut bytes, promised)?;
            if ((bytes.len() - start) as u64) < promised {
                return Err(Error::format(path, format!("truncated: {name} should have {promised} bytes")));
            }
        }
        if bytes.len() > MOST_INFLATED {
            let reason = format!("holds more than the {MOST_INFLATED} bytes that are inflated into memory");
            return Err(Error::format(path, format!("{reason}: unpack it (tar xzf) and give the folder")));
        }
        entries.push(Place { range: start..bytes.len(), promised });
        names.push(name);
    }
    // The end of the stream has its checksum.
    let mut rest = archive.into_inner().take(MOST_INFLATED as u64);
    io::copy(&mut rest, &mut io::sink()).map_err(|e| stream_error(path, e))?;
    Ok((Entries { bytes: Bytes::of(bytes), entries }, names))
}

/// The names of an archive's first entries that are files, without reading the rest of it; fewer where it is damaged.
pub(in crate::data) fn first_members(path: &Path, is_gzip: bool, count: usize) -> Result<Vec<String>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let stream: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = Archive::new(stream);
    let Ok(entries) = archive.entries() else { return Ok(Vec::new()) };
    let names = entries.map_while(|entry| entry.ok()).filter_map(|entry| name(&entry));
    Ok(names.filter(|name| !name.ends_with('/')).take(count).collect())
}

impl Entries {
    /// The first bytes of an entry, and its length.
    pub fn head(&self, place: usize, limit: u64) -> (Vec<u8>, u64) {
        let Place { range, promised } = &self.entries[place];
        let bytes = &self.bytes.as_ref()[range.clone()];
        (bytes[..bytes.len().min(limit as usize)].to_vec(), *promised)
    }

    /// The bytes of an entry.
    pub fn read(&self, place: usize) -> Result<Vec<u8>, String> {
        let Place { range, promised } = &self.entries[place];
        if *promised > MOST_ENTRY {
            return Err(too_long(*promised));
        }
        Ok(self.bytes.as_ref()[range.clone()].to_vec())
    }
}

/// The name of a file or folder; `None` for links, devices and what describes the archive.
fn name<R: Read>(entry: &Entry<R>) -> Option<String> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let kind = entry.header().entry_type();
    match kind.is_dir() {
        true => Some(format!("{}/", name.trim_end_matches('/'))),
        false => (kind.is_file() || kind.is_contiguous()).then_some(name),
    }
}

fn is_named_so(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    decode::is_named_image(&extension) || LABEL_FILES.contains(&extension.as_str())
}

fn damaged(error: io::Error) -> String {
    format!("damaged tar archive: {}", error.to_string().replace('\n', " "))
}

/// An error of the gzip stream, or of the archive in it.
fn stream_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::Other => Error::format(path, damaged(error)),
        _ => gzip_error(path, error),
    }
}
