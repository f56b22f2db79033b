//! Read-only memory maps of data files.

use std::{fs::File, io};

use memmap2::Mmap;

/// Maps `file` for reading.
///
/// # Errors
/// Errors of `mmap`; an empty file cannot be mapped.
pub fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private to this process and never written through, and it is only ever read as bytes, for
    // which every value is valid. What remains is the user's side of the bargain, as for every program that maps its
    // data: a file must not be cut short while a run reads it (that would be a SIGBUS, not a wrong result).
    unsafe { Mmap::map(file) }
}
