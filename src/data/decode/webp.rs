//! WebP, by the crate `image-webp`.

use std::io::{Read, Seek, SeekFrom};

use image_webp::{DecodingError, WebPDecoder};

use super::codec::{Codec, Decoded, Header, MAX_PIXELS, drop_alpha};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const WEBP: Codec = Codec {
    name: "WebP",
    extensions: &["webp"],
    begins: |head| head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"),
    header,
    decode,
};

/// The decoder fills up what is missing of a file; the length at its beginning tells whether something is.
fn decoder(input: &mut Input) -> Decoded<WebPDecoder<&mut Input>> {
    let mut head = [0; 8];
    input.read_exact(&mut head)?;
    let promised = 8 + u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    let length = input.seek(SeekFrom::End(0))?;
    if length < promised {
        return Err(format!("truncated: it promises {promised} bytes, but the file ends after {length}").into());
    }
    input.rewind()?;
    let mut decoder = WebPDecoder::new(input)?;
    decoder.set_memory_limit(8 * MAX_PIXELS);
    Ok(decoder)
}

fn header(input: &mut Input) -> Decoded<Header> {
    let mut decoder = decoder(input)?;
    let (width, height) = decoder.dimensions();
    let exif = decoder.exif_metadata()?;
    let orientation = exif.as_deref().map_or(Orientation::UPRIGHT, Orientation::of_exif);
    Ok(Header { height: height as usize, width: width as usize, grey: false, orientation })
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let mut decoder = decoder(input)?;
    let (width, height) = decoder.dimensions();
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or(DecodingError::ImageTooLarge)?];
    decoder.read_image(&mut pixels)?;
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    Ok(Image { height: height as usize, width: width as usize, channels: 3, pixels: drop_alpha(pixels, samples, 3) })
}
