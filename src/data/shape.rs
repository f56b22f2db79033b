//! The size and colours that every image of a data set is brought to.

use super::decode::{self, Image, Input};
use super::resize::Resize;

/// The size and colours of the images of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub height: usize,
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Gives colour up where there is one channel; otherwise colour images are refused.
    pub to_grey: bool,
}

impl Shape {
    /// Bytes of an image.
    pub fn bytes(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Decodes an image file to `out`, `[h, w, c]`.
    ///
    /// # Errors
    /// The reason, in words: a file that cannot be decoded, or has colours where grey is wanted.
    pub fn decode(&self, file: Vec<u8>, out: &mut [u8]) -> Result<(), String> {
        let image = decode::decode(&mut Input::of(file))?;
        if image.channels == 3 && self.channels == 1 && !self.to_grey {
            return Err("a colour image, but images of 1 channel are wanted: use 3 channels, or ask for grey".into());
        }
        self.fit(image, out);
        Ok(())
    }

    /// Brings an image to this shape; colour is given up unasked.
    pub fn fit(&self, image: Image, out: &mut [u8]) {
        let from = [image.height, image.width];
        let pixels = with_channels(image, self.channels);
        if from == [self.height, self.width] {
            out.copy_from_slice(&pixels);
        } else {
            Resize::new(from, [self.height, self.width]).apply(&pixels, self.channels, out);
        }
    }
}

/// The pixels of an image with 1 or 3 channels.
fn with_channels(image: Image, channels: usize) -> Vec<u8> {
    match (image.channels, channels) {
        (3, 1) => image.pixels.chunks_exact(3).map(|rgb| luma([rgb[0], rgb[1], rgb[2]])).collect(),
        (1, 3) => image.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => image.pixels,
    }
}

/// ITU-R 601 luma in the integer arithmetic of Pillow's `convert("L")`.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
