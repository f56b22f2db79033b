//! Sheets of images as PNG files.

use std::path::Path;

use crate::files::replace_file;
use crate::{Result, SampleKind, data::Dataset, levels::level};

/// Least width of a sheet in pixels. Narrower ones are enlarged by a whole factor, so that tiny images can be seen.
const MIN_WIDTH: usize = 512;
/// Grey level between the images.
const GAP_SHADE: u8 = 40;

/// An 8-bit image `[height, width, channels]` with 1 or 3 channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}

/// Arranges images `[n, h, w, c]` with values in [-1, 1] row by row; `columns` of `None` makes the sheet about square.
/// Values outside the range are clamped, not-a-number is black. One channel is grey, three are RGB; other numbers of
/// channels are drawn as grey planes side by side.
///
/// # Panics
/// If `images` does not hold `dims` numbers.
pub fn grid(images: &[f32], dims: [usize; 4], columns: Option<usize>) -> Picture {
    assert_eq!(images.len(), dims.iter().product::<usize>(), "images of dimensions {dims:?}");
    let [n, h, w, c] = dims;
    let bytes: Vec<u8> = images.iter().map(|&x| level(x)).collect();
    let images = bytes.chunks_exact((h * w * c).max(1));
    match c {
        1 | 3 => arrange(images, n, [h, w, c], columns),
        _ => {
            let planes: Vec<Vec<u8>> = images.map(|image| side_by_side(image, [h, w, c])).collect();
            arrange(planes.iter().map(Vec::as_slice), n, [h, c * w, 1], columns)
        }
    }
}

/// Draws one image `[h, w, c]` as it is: neither framed nor enlarged. Values and channels as for [`grid`].
pub(super) fn single(image: &[f32], dims: [usize; 3]) -> Picture {
    let [height, width, channels] = dims;
    let pixels: Vec<u8> = image.iter().map(|&x| level(x)).collect();
    match channels {
        1 | 3 => Picture { width, height, channels, pixels },
        _ => Picture { width: channels * width, height, channels: 1, pixels: side_by_side(&pixels, dims) },
    }
}

/// The channels of an image `[h, w, c]` as one grey image `[h, c * w]`.
fn side_by_side(image: &[u8], [h, w, c]: [usize; 3]) -> Vec<u8> {
    let pixel = |y: usize, channel: usize, x: usize| image[(y * w + x) * c + channel];
    (0..h).flat_map(|y| (0..c * w).map(move |i| pixel(y, i / w, i % w))).collect()
}

/// Draws samples `[n, h, w, c]` as a sheet: images in a grid, or points of the plane `[n, 1, 1, 2]` as dots in [-3, 3]^2, which
/// holds nearly all of a standardised set.
///
/// # Panics
/// If `samples` does not hold `dims` numbers.
pub fn sample_sheet(samples: &[f32], dims: [usize; 4]) -> Picture {
    let [_, h, w, c] = dims;
    match SampleKind::of([h, w, c]) {
        SampleKind::Points => dots(samples),
        SampleKind::Images => grid(samples, dims, None),
    }
}

/// Draws points as dark dots of two by two pixels on white; darker where they lie on each other.
fn dots(points: &[f32]) -> Picture {
    const SIDE: usize = 512;
    let mut pixels = vec![255u8; SIDE * SIDE];
    let place = |v: f32| ((v + 3.0) / 6.0 * (SIDE - 2) as f32) as usize;
    for point in points.chunks_exact(2).filter(|point| point.iter().all(|v| v.abs() < 3.0)) {
        let at = (SIDE - 2 - place(point[1])) * SIDE + place(point[0]);
        for offset in [0, 1, SIDE, SIDE + 1] {
            let pixel = &mut pixels[at + offset];
            *pixel = (*pixel / 5 * 2).max(20);
        }
    }
    Picture { width: SIDE, height: SIDE, channels: 1, pixels }
}

/// Arranges all images side by side, such as the stages of one denoising process.
pub fn strip(images: &[f32], dims: [usize; 4]) -> Picture {
    grid(images, dims, Some(dims[0]))
}

/// Arranges the images of a data set at `indices`.
///
/// # Errors
/// Images that cannot be read.
pub fn data_sheet(dataset: &Dataset, indices: &[usize], columns: Option<usize>) -> Result<Picture> {
    let (images, dims) = (dataset.images_u8(indices)?, dataset.image_dims());
    Ok(arrange(images.chunks_exact(dims.iter().product()), indices.len(), dims, columns))
}

fn arrange<'a>(images: impl Iterator<Item = &'a [u8]>, n: usize, dims: [usize; 3], columns: Option<usize>) -> Picture {
    let [h, w, channels] = dims;
    let columns = columns.unwrap_or_else(|| (n as f64).sqrt().ceil() as usize).clamp(1, n.max(1));
    let gap = if w.min(h) < 64 { 1 } else { 2 };
    let (width, height) = (columns * (w + gap) + gap, n.div_ceil(columns) * (h + gap) + gap);
    let mut pixels = vec![GAP_SHADE; width * height * channels];
    for (i, image) in images.enumerate() {
        let (left, top) = (gap + i % columns * (w + gap), gap + i / columns * (h + gap));
        for (y, row) in image.chunks_exact(w * channels).enumerate() {
            pixels[((top + y) * width + left) * channels..][..row.len()].copy_from_slice(row);
        }
    }
    Picture { width, height, channels, pixels }.enlarge(MIN_WIDTH.div_ceil(width))
}

impl Picture {
    /// Enlarges every pixel to a square of `factor` x `factor`.
    fn enlarge(self, factor: usize) -> Picture {
        if factor <= 1 {
            return self;
        }
        let mut pixels = Vec::with_capacity(self.pixels.len() * factor * factor);
        for row in self.pixels.chunks_exact(self.width * self.channels) {
            let wide: Vec<u8> = row.chunks_exact(self.channels).flat_map(|pixel| pixel.repeat(factor)).collect();
            (0..factor).for_each(|_| pixels.extend_from_slice(&wide));
        }
        Picture { width: self.width * factor, height: self.height * factor, pixels, ..self }
    }

    /// Encodes the picture as a PNG file.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(if self.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.pixels));
        written.expect("a picture has pixels for its size, and memory takes every write");
        bytes
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        replace_file(path, &self.png())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_dots_where_they_lie() {
        let sheet = sample_sheet(&[0.0, 0.0, 2.9, 2.9, f32::NAN, 0.0, 7.0, 0.0], [4, 1, 1, 2]);
        let dark = |x: usize, y: usize| sheet.pixels[y * sheet.width + x] < 255;
        assert_eq!(sheet.pixels.iter().filter(|&&p| p < 255).count(), 8);
        assert!(dark(255, 255) && dark(502, 9), "the middle, and the corner at the upper right");
    }

    #[test]
    fn values_become_levels_clamped_and_rounded() {
        let values = [-1.0, 1.0, 0.0, -3.0, 7.0, f32::NAN, 2.0 / 127.5 - 1.0, -1.0 + 2.4 / 127.5];
        let picture = grid(&values, [1, 1, 8, 1], None);
        let factor = picture.width / 10;
        let row = &picture.pixels[factor * picture.width..];
        let levels: Vec<u8> = (1..9).map(|i| row[i * factor]).collect();
        assert_eq!(levels, [0, 255, 128, 0, 255, 0, 2, 2]);
    }

    #[test]
    fn every_level_survives_scaling_to_a_batch_and_back() {
        for level in 0..=255u8 {
            let scaled = f32::from(level) / 127.5 - 1.0;
            assert_eq!(grid(&[scaled], [1, 1, 1, 1], None).pixels[171 * 513 + 171], level);
        }
    }

    #[test]
    fn a_sheet_has_gaps_and_is_large_enough_to_look_at() {
        let sheet = grid(&[1.0; 5 * 4 * 3 * 3], [5, 4, 3, 3], Some(2));
        // 2 columns of 3 pixels and 3 rows of 4 with gaps: 9 x 16, enlarged 57 times.
        assert_eq!((sheet.width, sheet.height, sheet.channels), (9 * 57, 16 * 57, 3));
        assert_eq!(sheet.pixels[..3], [GAP_SHADE; 3]);
        assert_eq!(sheet.pixels.iter().filter(|&&p| p == 255).count(), 5 * 4 * 3 * 3 * 57 * 57);
        let wide = strip(&[0.0; 7 * 128 * 128], [7, 128, 128, 1]);
        assert_eq!((wide.width, wide.height), (7 * 130 + 2, 132));
    }

    #[test]
    fn other_numbers_of_channels_are_planes_side_by_side() {
        for c in [2, 4, 5] {
            // Channel k of every pixel has the value of k.
            let value = |k: usize| k as f32 / c as f32 - 0.5;
            let images: Vec<f32> = (0..3 * 2 * 3 * c).map(|i| value(i % c)).collect();
            let sheet = grid(&images, [3, 2, 3, c], Some(1));
            let factor = sheet.width / (3 * c + 2);
            assert_eq!((sheet.channels, sheet.height), (1, (3 * 3 + 1) * factor));
            let row = &sheet.pixels[factor * sheet.width..][..sheet.width];
            let planes: Vec<u8> = (0..c).map(|k| row[(1 + 3 * k) * factor]).collect();
            assert_eq!(planes, (0..c).map(|k| level(value(k))).collect::<Vec<_>>(), "{c} channels");
            assert_eq!(sheet.png()[..4], *b"\x89PNG");
        }
        // Points of the plane stay dots.
        assert_eq!(sample_sheet(&[0.0; 8], [4, 1, 1, 2]).width, 512);
    }

    #[test]
    fn the_png_holds_the_pixels() {
        let sheet = grid(&[-1.0, 0.0, 1.0, 0.5, 0.25, -0.5], [2, 1, 1, 3], None);
        let mut reader = png::Decoder::new(std::io::Cursor::new(sheet.png())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width as usize, frame.height as usize), (sheet.width, sheet.height));
        assert_eq!(pixels, sheet.pixels);
    }
}
