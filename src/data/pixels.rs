//! The pixels of images, and where they lie.

use memmap2::Mmap;

/// The bytes of images, and where they lie.
#[derive(Debug)]
pub(super) enum Pixels {
    Memory(Vec<u8>),
    /// In a mapped file, after `offset` bytes of header.
    Mapped {
        map: Mmap,
        offset: usize,
    },
}

impl Pixels {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Pixels::Memory(bytes) => bytes,
            Pixels::Mapped { map, offset } => &map[*offset..],
        }
    }
}
