//! Decodes image files to 8-bit grey or RGB, upright. A file is recognised by its content, whatever its name says.
//!
//! Sixteen-bit images are rounded to eight; transparency is dropped, as Pillow's `convert("RGB")` does; of an animation
//! the first frame is read. An image that ends early is an error, never a picture with a grey part.

mod bmp;
mod codec;
mod gif;
mod image;
mod input;
mod jpeg;
mod orientation;
mod png;
mod tiff;
mod webp;

use std::io::{Read, Seek};

use codec::Codec;
pub(super) use codec::{Header, MAX_PIXELS};
pub(super) use image::Image;
pub(super) use input::Input;

/// All codecs; their files begin differently.
const CODECS: [&Codec; 6] = [&png::PNG, &jpeg::JPEG, &webp::WEBP, &bmp::BMP, &gif::GIF, &tiff::TIFF];

/// Bytes of a file that it is recognised by.
const SIGNATURE_BYTES: u64 = 16;

/// Names of the codecs, for messages.
pub(super) fn names() -> String {
    CODECS.map(|codec| codec.name).join(", ")
}

/// Recognises an image by the beginning of its file.
pub(super) fn is_image(head: &[u8]) -> bool {
    CODECS.iter().any(|codec| (codec.begins)(head))
}

/// Recognises the name of an image by its extension.
pub(super) fn is_named_image(extension: &str) -> bool {
    CODECS.iter().any(|codec| codec.extensions.contains(&extension))
}

/// Reads the header of an image.
///
/// # Errors
/// The reason, in words: bytes that are no image, are damaged within the header, or promise too much.
pub(super) fn header(input: &mut Input) -> Result<Header, String> {
    checked_header(codec_of(input)?, input)
}

/// Decodes an image.
///
/// # Errors
/// The reason, in words: bytes that are no image, are damaged, or promise too much.
pub(super) fn decode(input: &mut Input) -> Result<Image, String> {
    let codec = codec_of(input)?;
    let header = checked_header(codec, input)?;
    input.rewind().map_err(unreadable)?;
    let image = (codec.decode)(input).map_err(unreadable)?;
    Ok(header.orientation.apply(image))
}

/// Finds the codec by the first bytes, and goes back to them.
fn codec_of(input: &mut Input) -> Result<&'static Codec, String> {
    let mut head = Vec::new();
    input.by_ref().take(SIGNATURE_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    input.rewind().map_err(unreadable)?;
    if head.is_empty() {
        return Err(unreadable("the file is empty"));
    }
    let codec = CODECS.into_iter().find(|codec| (codec.begins)(&head));
    codec.ok_or_else(|| unreadable(format!("none of {}", names())))
}

fn checked_header(codec: &Codec, input: &mut Input) -> Result<Header, String> {
    let header = (codec.header)(input).map_err(unreadable)?;
    let Header { height, width, .. } = header;
    match height.checked_mul(width) {
        Some(0) => Err(unreadable(format!("its size is {width}x{height}"))),
        Some(pixels) if pixels <= MAX_PIXELS => Ok(header),
        _ => Err(unreadable(format!("it promises {width}x{height} pixels; at most {MAX_PIXELS} are read"))),
    }
}

/// One line, of some length at most: some decoders list all samples of a damaged image.
fn unreadable(reason: impl ToString) -> String {
    const MOST_CHARS: usize = 300;
    let reason = reason.to_string().replace('\n', " ");
    match reason.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("unreadable image: {}...", &reason[..end]),
        None => format!("unreadable image: {reason}"),
    }
}

#[cfg(test)]
mod tests;
