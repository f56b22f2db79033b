//! TIFF, by the crate `tiff`: the first image, in grey, RGB or a palette of 8 bits, or grey in wider
//! integers.

use std::fmt::Display;

use ::tiff::{
    ColorType, TiffError,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

use super::codec::{Codec, Decoded, Header, MAX_PIXELS, drop_alpha, to_8_bits};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const TIFF: Codec = Codec {
    name: "TIFF",
    extensions: &["tif", "tiff"],
    begins: |head| head.starts_with(b"II*\0") || head.starts_with(b"MM\0*"),
    header: |input| header_of(&mut decoder(input)?),
    decode,
};

fn decoder(input: &mut Input) -> Result<Decoder<&mut Input>, TiffError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 8 * MAX_PIXELS;
    limits.intermediate_buffer_size = 8 * MAX_PIXELS;
    Ok(Decoder::new(input)?.with_limits(limits))
}

fn header_of(decoder: &mut Decoder<&mut Input>) -> Decoded<Header> {
    let (width, height) = decoder.dimensions()?;
    let grey = matches!(decoder.colortype()?, ColorType::Gray(_) | ColorType::GrayA(_));
    let orientation = decoder.find_tag_unsigned(Tag::Orientation)?.map_or(Orientation::UPRIGHT, Orientation::new);
    Ok(Header { height: height as usize, width: width as usize, grey, orientation })
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let mut decoder = decoder(input)?;
    let Header { height, width, .. } = header_of(&mut decoder)?;
    let color = decoder.colortype()?;
    let palette = match color {
        ColorType::Palette(8) => Some(decoder.get_tag_u16_vec(Tag::ColorMap)?),
        _ => None,
    };
    let (samples, channels) = match color {
        ColorType::Gray(8 | 16 | 32 | 64) | ColorType::Palette(8) => (1, 1),
        ColorType::GrayA(8 | 16) => (2, 1),
        ColorType::RGB(8 | 16) => (3, 3),
        ColorType::RGBA(8 | 16) => (4, 3),
        other => return Err(format!("colours of the kind {other:?} are not read").into()),
    };
    let pixels: Vec<u8> = match decoder.read_image()? {
        DecodingResult::U8(pixels) => pixels,
        DecodingResult::U16(pixels) => pixels.into_iter().map(to_8_bits).collect(),
        DecodingResult::U32(pixels) => bytes(&pixels)?,
        DecodingResult::I32(pixels) => bytes(&pixels)?,
        DecodingResult::F32(_) | DecodingResult::F64(_) => {
            let remedy = "store bytes, such as (255 * image).round().astype(\"uint8\")";
            return Err(format!("samples of floating point, whose range is not known: {remedy}").into());
        }
        _ => return Err("samples of this type are not read; bytes are".into()),
    };
    if pixels.len() != height * width * samples {
        return Err("planes of separate colours are not read".into());
    }
    match palette {
        Some(palette) => Ok(Image { height, width, channels: 3, pixels: look_up(&pixels, &palette)? }),
        None => Ok(Image { height, width, channels, pixels: drop_alpha(pixels, samples, channels) }),
    }
}

/// Samples of 32 bits, as which Pillow and `datasets` store arrays of integers, where all of them are bytes.
fn bytes<T: Copy + Display + TryInto<u8>>(samples: &[T]) -> Decoded<Vec<u8>> {
    let byte = |&sample: &T| sample.try_into().map_err(|_| format!("a sample of {sample}: 0 to 255 are read"));
    Ok(samples.iter().map(byte).collect::<Result<_, String>>()?)
}

/// Colours of a palette that lists all reds, then all greens, then all blues.
fn look_up(indices: &[u8], palette: &[u16]) -> Decoded<Vec<u8>> {
    let [reds, greens, blues] = [0, 1, 2].map(|plane| palette.get(256 * plane..256 * (plane + 1)));
    let (Some(reds), Some(greens), Some(blues)) = (reds, greens, blues) else {
        return Err("its palette is short".into());
    };
    Ok(indices.iter().flat_map(|&i| [reds, greens, blues].map(|plane| to_8_bits(plane[usize::from(i)]))).collect())
}
