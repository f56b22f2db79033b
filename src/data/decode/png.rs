//! PNG, by the crate `png`.

use ::png::{BitDepth, ColorType, DecodingError, Limits, Reader, Transformations};

use super::codec::{Codec, Decoded, Header, MAX_PIXELS, drop_alpha, to_8_bits};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const PNG: Codec = Codec {
    name: "PNG",
    extensions: &["png", "apng"],
    begins: |head| head.starts_with(b"\x89PNG\r\n\x1a\n"),
    header: |input| Ok(header_of(&reader(input)?)),
    decode,
};

/// Palettes and few bits are expanded to bytes; sixteen bits stay.
fn reader(input: &mut Input) -> Result<Reader<&mut Input>, DecodingError> {
    let mut decoder = ::png::Decoder::new_with_limits(input, Limits { bytes: 8 * MAX_PIXELS });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info()
}

fn header_of(reader: &Reader<&mut Input>) -> Header {
    let (width, height) = reader.info().size();
    let grey = matches!(reader.output_color_type().0, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    let orientation = reader.info().exif_metadata.as_deref().map_or(Orientation::UPRIGHT, Orientation::of_exif);
    Header { height: height as usize, width: width as usize, grey, orientation }
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let mut reader = reader(input)?;
    let Header { height, width, grey, .. } = header_of(&reader);
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?];
    reader.next_frame(&mut pixels)?;
    let (color, depth) = reader.output_color_type();
    if depth == BitDepth::Sixteen {
        pixels = pixels.chunks_exact(2).map(|pair| to_8_bits(u16::from_be_bytes([pair[0], pair[1]]))).collect();
    }
    let channels = if grey { 1 } else { 3 };
    Ok(Image { height, width, channels, pixels: drop_alpha(pixels, color.samples(), channels) })
}
