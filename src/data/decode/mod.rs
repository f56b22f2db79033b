//! Decodes image files to 8-bit grey or RGB, upright. A file is recognised by its content, whatever its name says.
//!
//! Sixteen-bit images are rounded to eight; transparency is dropped, as Pillow's `convert("RGB")` does; of an animation
//! the first frame is read. An image that ends early is an error, never a picture with a grey part.

mod bmp;
mod codec;
mod gif;
mod image;
mod jpeg;
mod orientation;
mod png;
mod tiff;
mod webp;

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

pub(super) use codec::Header;
use codec::{Codec, Input, MAX_PIXELS};
pub(super) use image::Image;

use crate::{Error, Result};

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
/// A file that is no image, is damaged within its header, or is too large.
pub(super) fn header(path: &Path) -> Result<Header> {
    let (codec, mut input) = open(path)?;
    checked_header(codec, &mut input, path)
}

/// Decodes an image.
///
/// # Errors
/// A file that is no image, is damaged, or is too large.
pub(super) fn decode(path: &Path) -> Result<Image> {
    let (codec, mut input) = open(path)?;
    let header = checked_header(codec, &mut input, path)?;
    input.rewind().map_err(Error::io(path))?;
    let image = (codec.decode)(&mut input).map_err(|reason| unreadable(path, reason))?;
    Ok(header.orientation.apply(image))
}

fn open(path: &Path) -> Result<(&'static Codec, Input)> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = Vec::new();
    file.by_ref().take(SIGNATURE_BYTES).read_to_end(&mut head).map_err(Error::io(path))?;
    file.rewind().map_err(Error::io(path))?;
    if head.is_empty() {
        return Err(unreadable(path, "the file is empty"));
    }
    let codec = CODECS.into_iter().find(|codec| (codec.begins)(&head));
    Ok((codec.ok_or_else(|| unreadable(path, format!("none of {}", names())))?, BufReader::new(file)))
}

fn checked_header(codec: &Codec, input: &mut Input, path: &Path) -> Result<Header> {
    let header = (codec.header)(input).map_err(|reason| unreadable(path, reason))?;
    let Header { height, width, .. } = header;
    match height.checked_mul(width) {
        Some(0) => Err(unreadable(path, format!("its size is {width}x{height}"))),
        Some(pixels) if pixels <= MAX_PIXELS => Ok(header),
        _ => Err(unreadable(path, format!("it promises {width}x{height} pixels; at most {MAX_PIXELS} are read"))),
    }
}

fn unreadable(path: &Path, reason: impl ToString) -> Error {
    Error::format(path, format!("unreadable image: {}", reason.to_string().replace('\n', " ")))
}

#[cfg(test)]
mod tests;
