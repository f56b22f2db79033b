//! The interface of a codec.

use std::error::Error;

use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

/// Pixels of the largest image that is read: 128 megapixels. A damaged header may promise any size.
pub(in crate::data) const MAX_PIXELS: usize = 1 << 27;

/// The result of a decoder; its error becomes a part of a message.
pub(super) type Decoded<T> = Result<T, Box<dyn Error>>;

/// A kind of image files.
pub(super) struct Codec {
    pub name: &'static str,
    /// Extensions that are believed whatever the content, so that a damaged image is reported, not skipped.
    pub extensions: &'static [&'static str],
    /// Recognises the first bytes of a file.
    pub begins: fn(&[u8]) -> bool,
    /// Reads size, colour and orientation.
    pub header: fn(&mut Input) -> Decoded<Header>,
    /// Decodes the pixels as they are stored, before they are turned.
    pub decode: fn(&mut Input) -> Decoded<Image>,
}

/// The size and colour of an image, read without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Header {
    /// Height as it is stored.
    pub height: usize,
    /// Width as it is stored.
    pub width: usize,
    pub grey: bool,
    pub orientation: Orientation,
}

impl Header {
    /// True of an image that is stored as it is looked at.
    pub fn is_upright(&self) -> bool {
        self.orientation == Orientation::UPRIGHT
    }

    /// Height and width of the upright image.
    pub fn upright(&self) -> [usize; 2] {
        if self.orientation.swaps_axes() { [self.width, self.height] } else { [self.height, self.width] }
    }
}

/// Rounds a sample of sixteen bits to eight.
pub(super) fn to_8_bits(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

/// The first `kept` samples of every pixel: all but its transparency.
pub(super) fn drop_alpha(pixels: Vec<u8>, samples: usize, kept: usize) -> Vec<u8> {
    if samples == kept {
        return pixels;
    }
    pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..kept]).copied().collect()
}

/// The first channel of images that are grey but stored as colour.
pub(super) fn first_channel(pixels: &[u8]) -> Vec<u8> {
    pixels.chunks_exact(3).map(|pixel| pixel[0]).collect()
}

/// True of colours `[n, samples]` whose red, green and blue are equal.
pub(super) fn all_grey(palette: &[u8], samples: usize) -> bool {
    palette.chunks_exact(samples).all(|colour| colour[0] == colour[1] && colour[1] == colour[2])
}
