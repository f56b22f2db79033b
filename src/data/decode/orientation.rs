//! The orientation of a photograph: cameras store the sensor's rows and note how to turn them.

use super::image::Image;

/// EXIF orientations 1 to 8; 1 is upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Orientation(u8);

impl Orientation {
    pub const UPRIGHT: Orientation = Orientation(1);

    /// The orientation of this number; numbers without a meaning are upright.
    pub fn new(number: u16) -> Orientation {
        if (1..=8).contains(&number) { Orientation(number as u8) } else { Orientation::UPRIGHT }
    }

    /// Finds the orientation in EXIF data: a TIFF header and a directory of tags. Data that make no sense are upright.
    pub fn of_exif(exif: &[u8]) -> Orientation {
        find_in_exif(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)).map_or(Orientation::UPRIGHT, Orientation::new)
    }

    /// True where height and width change places.
    pub fn swaps_axes(self) -> bool {
        self.0 >= 5
    }

    /// Turns an image upright.
    pub fn apply(self, image: Image) -> Image {
        if self == Orientation::UPRIGHT {
            return image;
        }
        let Image { height: h, width: w, channels: c, pixels } = image;
        let [height, width] = if self.swaps_axes() { [w, h] } else { [h, w] };
        let mut upright = Vec::with_capacity(pixels.len());
        for y in 0..height {
            for x in 0..width {
                let (row, column) = match self.0 {
                    2 => (y, w - 1 - x),
                    3 => (h - 1 - y, w - 1 - x),
                    4 => (h - 1 - y, x),
                    5 => (x, y),
                    6 => (h - 1 - x, y),
                    7 => (h - 1 - x, w - 1 - y),
                    _ => (x, w - 1 - y),
                };
                upright.extend_from_slice(&pixels[(row * w + column) * c..][..c]);
            }
        }
        Image { height, width, channels: c, pixels: upright }
    }
}

fn find_in_exif(tiff: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x0112;
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) } as usize)
    };
    let directory = long(4)?;
    let tags = (0..short(directory)? as usize).map(|i| directory + 2 + 12 * i);
    tags.map_while(|tag| Some((short(tag)?, tag)))
        .find(|(id, _)| *id == ORIENTATION)
        .and_then(|(_, tag)| short(tag + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image 0 1 2 / 3 4 5 after each turn, from the standard's words: where the 0th row and the 0th column are.
    #[test]
    fn each_orientation_turns_the_image_upright() {
        let turned: [(&[u8], usize); 8] = [
            (&[0, 1, 2, 3, 4, 5], 3),
            (&[2, 1, 0, 5, 4, 3], 3),
            (&[5, 4, 3, 2, 1, 0], 3),
            (&[3, 4, 5, 0, 1, 2], 3),
            (&[0, 3, 1, 4, 2, 5], 2),
            (&[3, 0, 4, 1, 5, 2], 2),
            (&[5, 2, 4, 1, 3, 0], 2),
            (&[2, 5, 1, 4, 0, 3], 2),
        ];
        for (number, (pixels, width)) in (1..).zip(turned) {
            let image = Image { height: 2, width: 3, channels: 1, pixels: vec![0, 1, 2, 3, 4, 5] };
            let upright = Orientation::new(number).apply(image);
            assert_eq!((&upright.pixels[..], upright.width), (pixels, width), "orientation {number}");
        }
    }

    #[test]
    fn the_tag_is_found_in_either_byte_order_and_nonsense_is_upright() {
        let little = [b"II*\0", &[8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0][..]].concat();
        let big = [b"Exif\0\0MM\0*", &[0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0][..]].concat();
        assert_eq!([Orientation::of_exif(&little), Orientation::of_exif(&big)], [Orientation(6), Orientation(8)]);
        let (far, nine) = ([b"II*\0", &[0xff; 8][..]].concat(), Orientation::new(9));
        assert_eq!([Orientation::of_exif(&little[..15]), Orientation::of_exif(&far), nine], [Orientation::UPRIGHT; 3]);
    }
}
