//! Decoded pixels.

/// An 8-bit image `[height, width, channels]` with 1 or 3 channels.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::data) struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}
