//! Single images for a model, and masks that say which part of one is meant.

use std::fs;
use std::path::Path;

use super::decode::{self, Image, Input};
use super::shape::{Shape, luma};
use crate::{Error, Result, levels};

/// The way an image is brought to a model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As images of a data set are: cropped around the centre to the shape, then resized.
    Cropped,
    /// Not at all: another size is an error.
    Exact,
}

/// Reads an image file as a model sees it, `[h, w, c]` in [-1, 1]. An image of three equal channels counts as grey.
///
/// # Errors
/// A file that cannot be read or decoded, colours where the model has none, and a size that does not fit.
pub fn read(path: &Path, [height, width, channels]: [usize; 3], fit: Fit) -> Result<Vec<f32>> {
    let mut image = decoded(path)?;
    if fit == Fit::Exact && [image.height, image.width] != [height, width] {
        return Err(Error::format(
            path,
            format!("an image of {}x{} pixels; the model draws {width}x{height}", image.width, image.height),
        ));
    }
    if channels != 1 && channels != 3 {
        return Err(Error::format(path, format!("an image has 1 channel or 3, and the model {channels}")));
    }
    if image.channels == 3 && channels == 1 {
        if !image.pixels.chunks_exact(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]) {
            return Err(Error::format(path, "a colour image, and the model draws grey: turn it to grey first"));
        }
        image = Image { channels: 1, pixels: image.pixels.chunks_exact(3).map(|rgb| rgb[0]).collect(), ..image };
    }
    let shape = Shape { height, width, channels, to_grey: false };
    let mut pixels = vec![0; shape.bytes()];
    shape.fit(image, &mut pixels);
    Ok(pixels.into_iter().map(levels::value).collect())
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// True of its pixels, `[height, width]`.
    pub is_within: Vec<bool>,
}

/// Reads a mask: what is white, or lighter than the middle grey, is within. What is transparent counts as black, so that
/// strokes on an empty layer are a mask as well.
///
/// # Errors
/// A file that cannot be read or decoded.
pub fn read_mask(path: &Path) -> Result<Mask> {
    let opacity = opacity(path)?;
    let image = decoded(path)?;
    let shade = |pixel: &[u8]| if let [r, g, b] = *pixel { luma([r, g, b]) } else { pixel[0] };
    let shades = image.pixels.chunks_exact(image.channels).map(shade);
    let is_within: Vec<bool> = match opacity {
        Some(opacity) => {
            shades.zip(opacity).map(|(shade, alpha)| u16::from(shade) * u16::from(alpha) >= 255 * 128).collect()
        }
        None => shades.map(|shade| shade >= 128).collect(),
    };
    Ok(Mask { height: image.height, width: image.width, is_within })
}

fn decoded(path: &Path) -> Result<Image> {
    let file = fs::read(path).map_err(Error::io(path))?;
    decode::decode(&mut Input::of(file)).map_err(|reason| Error::format(path, reason))
}

/// The opacity of every pixel of a PNG that has such a channel.
fn opacity(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = fs::read(path).map_err(Error::io(path))?;
    let damaged = |error: png::DecodingError| Error::format(path, error.to_string());
    if !file.starts_with(b"\x89PNG") {
        return Ok(None);
    }
    decode::header(&mut Input::of(file.clone())).map_err(|reason| Error::format(path, reason))?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    let channels = match reader.output_color_type().0 {
        png::ColorType::GrayscaleAlpha => 2,
        png::ColorType::Rgba => 4,
        _ => return Ok(None),
    };
    let mut pixels = vec![0; reader.output_buffer_size().ok_or_else(|| damaged(png::DecodingError::LimitsExceeded))?];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    Ok(Some(pixels.chunks_exact(channels).map(|pixel| pixel[channels - 1]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, [height, width]: [u32; 2], color: png::ColorType, pixels: &[u8]) {
        let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }

    #[test]
    fn an_image_has_the_values_of_its_levels_and_the_size_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write(&path, [2, 3], png::ColorType::Grayscale, &[0, 51, 255, 102, 0, 7]);
        let want: Vec<f32> = [0, 51, 255, 102, 0, 7].map(levels::value).into();
        assert_eq!(read(&path, [2, 3, 1], Fit::Exact).unwrap(), want);
        assert_eq!(read(&path, [2, 2, 1], Fit::Cropped).unwrap().len(), 4);
        let message = read(&path, [4, 4, 1], Fit::Exact).unwrap_err().to_string();
        assert!(message.contains("3x2 pixels; the model draws 4x4"), "{message}");
        assert_eq!(read(&path, [2, 3, 3], Fit::Exact).unwrap()[3..6], [levels::value(51); 3]);
    }

    #[test]
    fn colour_is_not_given_up_but_grey_in_three_channels_is_grey() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write(&path, [1, 2], png::ColorType::Rgb, &[9, 9, 9, 200, 200, 200]);
        assert_eq!(read(&path, [1, 2, 1], Fit::Exact).unwrap(), [9, 200].map(levels::value));
        write(&path, [1, 2], png::ColorType::Rgb, &[9, 9, 9, 200, 201, 200]);
        assert!(read(&path, [1, 2, 1], Fit::Exact).unwrap_err().to_string().contains("draws grey"));
        assert!(read(&path, [1, 2, 4], Fit::Exact).unwrap_err().to_string().contains("the model 4"));
        assert!(
            read(&folder.path().join("none.png"), [1, 2, 1], Fit::Exact).unwrap_err().to_string().contains("none.png")
        );
    }

    #[test]
    fn a_mask_is_what_is_white_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let is_within = |color, pixels: &[u8]| {
            write(&path, [1, 4], color, pixels);
            let mask = read_mask(&path).unwrap();
            assert_eq!([mask.height, mask.width], [1, 4]);
            mask.is_within
        };
        assert_eq!(is_within(png::ColorType::Grayscale, &[255, 0, 128, 127]), [true, false, true, false]);
        let white = [255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 100];
        assert_eq!(is_within(png::ColorType::Rgba, &white), [true, false, false, false]);
        assert_eq!(
            is_within(png::ColorType::GrayscaleAlpha, &[255, 255, 255, 9, 0, 255, 200, 200]),
            [true, false, false, true]
        );
        fs::write(&path, b"no image").unwrap();
        assert!(read_mask(&path).unwrap_err().to_string().contains("mask.png"));
    }
}
