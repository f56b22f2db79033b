//! Bilinear resizing of 8-bit images, byte for byte as Pillow does it (`Image.resize` with `BILINEAR`, hence also
//! torchvision's `Resize`): half-pixel centres, a triangle filter that widens with the reduction so that a smaller
//! image does not alias, one pass per axis, each rounded to 8 bits. Pixels stay on the 256 levels that the discrete
//! decoder of a DDPM assumes.

/// Fractional bits of a filter weight.
const WEIGHT_BITS: u32 = 22;

/// The way from images of one size to images of another; an image of another shape is first cropped around its centre.
#[derive(Debug)]
pub(super) struct Resize {
    /// Width of the source.
    width: usize,
    rows: Axis,
    columns: Axis,
}

impl Resize {
    /// `from` and `to` are (height, width), at least 1.
    pub(super) fn new(from: [usize; 2], to: [usize; 2]) -> Resize {
        let [height, width] = from;
        // The largest part of the source with the target's aspect ratio.
        let crop_height = (width * to[0]).div_ceil(to[1]).min(height);
        let crop_width = (height * to[1]).div_ceil(to[0]).min(width);
        Resize { width, rows: Axis::new(height, crop_height, to[0]), columns: Axis::new(width, crop_width, to[1]) }
    }

    /// Resizes `image`, `[h, w, channels]`, into `out`.
    pub(super) fn apply(&self, image: &[u8], channels: usize, out: &mut [u8]) {
        let out_row = self.columns.taps.len() * channels;
        let mut narrow = vec![0; self.rows.crop.1 * out_row];
        let source_rows = image.chunks_exact(self.width * channels).skip(self.rows.crop.0);
        for (narrow, row) in narrow.chunks_exact_mut(out_row).zip(source_rows) {
            let row = &row[self.columns.crop.0 * channels..];
            for (pixel, taps) in narrow.chunks_exact_mut(channels).zip(&self.columns.taps) {
                for (k, value) in pixel.iter_mut().enumerate() {
                    *value = taps.weigh(|i| row[i * channels + k]);
                }
            }
        }
        for (out, taps) in out.chunks_exact_mut(out_row).zip(&self.rows.taps) {
            for (k, value) in out.iter_mut().enumerate() {
                *value = taps.weigh(|i| narrow[i * out_row + k]);
            }
        }
    }
}

/// One axis: the part of the source that is used, (first, length), and what each target pixel takes from it.
#[derive(Debug)]
struct Axis {
    crop: (usize, usize),
    taps: Vec<Taps>,
}

/// A target pixel's source pixels and their fixed-point weights, which add up to one.
#[derive(Debug)]
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Axis {
    fn new(length: usize, crop: usize, target: usize) -> Axis {
        let scale = crop as f64 / target as f64;
        let reach = scale.max(1.0);
        let taps = (0..target).map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(crop);
            let triangle = |j: usize| (1.0 - ((j as f64 - centre + 0.5) / reach).abs()).max(0.0);
            let total: f64 = (first..end).map(triangle).sum();
            let weights =
                (first..end).map(|j| (triangle(j) / total * f64::from(1 << WEIGHT_BITS) + 0.5) as i32).collect();
            Taps { first, weights }
        });
        Axis { crop: ((length - crop) / 2, crop), taps: taps.collect() }
    }
}

impl Taps {
    fn weigh(&self, source: impl Fn(usize) -> u8) -> u8 {
        let half = 1 << (WEIGHT_BITS - 1);
        let sum: i32 = self.weights.iter().zip(self.first..).map(|(weight, i)| weight * i32::from(source(i))).sum();
        ((sum + half) >> WEIGHT_BITS).clamp(0, 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(image: &[u8], from: [usize; 2], to: [usize; 2], channels: usize) -> Vec<u8> {
        let mut out = vec![0; to[0] * to[1] * channels];
        Resize::new(from, to).apply(image, channels, &mut out);
        out
    }

    /// Resizing without a crop.
    fn stretch(image: &[u8], from: [usize; 2], to: [usize; 2], channels: usize) -> Vec<u8> {
        let axis = |k: usize| Axis::new(from[k], from[k], to[k]);
        let mut out = vec![0; to[0] * to[1] * channels];
        Resize { width: from[1], rows: axis(0), columns: axis(1) }.apply(image, channels, &mut out);
        out
    }

    /// The image that the reference values were made from.
    fn pattern(height: usize, width: usize, channels: usize) -> Vec<u8> {
        (0..height * width * channels).map(|i| ((i * i * 31 + i * 57) % 256) as u8).collect()
    }

    #[test]
    fn bytes_are_those_of_pillow() {
        // PIL.Image.fromarray(pattern).resize((width, height), PIL.Image.BILINEAR), Pillow 13.0
        let enlarged = [
            0, 31, 82, 163, 235, 210, 194, 85, 78, 69, 141, 211, 184, 167, 212, 149, 49, 107, 174, 145, 126, 166, 157,
            141, 131, 119, 86, 66, 136, 162, 203, 147, 82, 47, 26,
        ];
        assert_eq!(stretch(&pattern(3, 4, 1), [3, 4], [5, 7], 1), enlarged);
        let reduced = [110, 110, 115, 123, 102, 126, 145, 135, 94, 131, 127, 142, 143, 125, 125, 131, 135, 130];
        assert_eq!(stretch(&pattern(9, 7, 3), [9, 7], [3, 2], 3), reduced);
        assert_eq!(stretch(&pattern(9, 7, 1), [9, 7], [3, 2], 1), [134, 117, 100, 118, 115, 120]);
    }

    #[test]
    fn other_shapes_are_cropped_around_the_centre() {
        let wide: Vec<u8> = vec![9, 1, 2, 9, 9, 3, 4, 9];
        assert_eq!(resize(&wide, [2, 4], [2, 2], 1), [1, 2, 3, 4]);
        let tall: Vec<u8> = vec![9, 9, 1, 2, 3, 4, 9, 9];
        assert_eq!(resize(&tall, [4, 2], [2, 2], 1), [1, 2, 3, 4]);
        assert_eq!(resize(&[7; 1000 * 3], [1000, 3], [5, 5], 1), [7; 25]);
        assert_eq!(resize(&[200, 100, 50], [1, 1], [2, 2], 3), [200, 100, 50].repeat(4));
    }
}
