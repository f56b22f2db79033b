//! Decodes image files to 8-bit grey or RGB. A file is recognised by its content, whatever its name says.
//!
//! Sixteen-bit images are rounded to eight; transparency is dropped, as Pillow's `convert("RGB")` does.

use std::{
    fmt::Display,
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

use png::{BitDepth, ColorType, Transformations};
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{
        bytestream::{ZByteReaderTrait, ZCursor},
        colorspace::ColorSpace,
        options::DecoderOptions,
    },
};

use crate::{Error, Result};

/// Bytes of a file that are needed to recognise it.
pub(super) const SIGNATURE_BYTES: usize = 8;

/// An 8-bit image `[height, width, channels]` with 1 or 3 channels.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
}

/// The size and colour of an image, read without decoding it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) grey: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Png,
    Jpeg,
}

impl Codec {
    fn of(head: &[u8]) -> Option<Codec> {
        match head {
            _ if head.starts_with(b"\x89PNG\r\n\x1a\n") => Some(Codec::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Codec::Jpeg),
            _ => None,
        }
    }
}

/// Recognises an image by the beginning of its file.
pub(super) fn is_image(head: &[u8]) -> bool {
    Codec::of(head).is_some()
}

/// Reads the header of an image.
///
/// # Errors
/// A file that is no image, or is damaged within its header.
pub(super) fn header(path: &Path) -> Result<Header> {
    let (codec, file) = open(path)?;
    let header = match codec {
        Codec::Png => png_header(&png_reader(file).map_err(|e| png_error(path, e))?),
        Codec::Jpeg => jpeg_header(file).map_err(|e| unreadable(path, e))?,
    };
    if header.width == 0 || header.height == 0 {
        return Err(unreadable(path, format_args!("its size is {}x{}", header.width, header.height)));
    }
    Ok(header)
}

/// Decodes an image.
///
/// # Errors
/// A file that is no image, or is damaged.
pub(super) fn decode(path: &Path) -> Result<Image> {
    let (codec, mut file) = open(path)?;
    match codec {
        Codec::Png => decode_png(file).map_err(|e| png_error(path, e)),
        Codec::Jpeg => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(Error::io(path))?;
            decode_jpeg(&bytes).map_err(|e| unreadable(path, e))
        }
    }
}

fn open(path: &Path) -> Result<(Codec, BufReader<File>)> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = Vec::new();
    file.by_ref().take(SIGNATURE_BYTES as u64).read_to_end(&mut head).map_err(Error::io(path))?;
    file.rewind().map_err(Error::io(path))?;
    let codec = Codec::of(&head).ok_or_else(|| unreadable(path, "neither PNG nor JPEG"))?;
    Ok((codec, BufReader::new(file)))
}

type PngReader = png::Reader<BufReader<File>>;

/// Palettes and few bits are expanded to bytes; sixteen bits stay.
fn png_reader(file: BufReader<File>) -> Result<PngReader, png::DecodingError> {
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info()
}

fn png_header(reader: &PngReader) -> Header {
    let (width, height) = reader.info().size();
    let grey = matches!(reader.output_color_type().0, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    Header { height: height as usize, width: width as usize, grey }
}

fn decode_png(file: BufReader<File>) -> Result<Image, png::DecodingError> {
    let mut reader = png_reader(file)?;
    let Header { height, width, grey } = png_header(&reader);
    let size = reader.output_buffer_size().ok_or(png::DecodingError::LimitsExceeded)?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels)?;
    let (color, depth) = reader.output_color_type();
    if depth == BitDepth::Sixteen {
        let round = |pair: &[u8]| ((u32::from(u16::from_be_bytes([pair[0], pair[1]])) + 128) / 257) as u8;
        pixels = pixels.chunks_exact(2).map(round).collect();
    }
    let (channels, samples) = (if grey { 1 } else { 3 }, color.samples());
    if samples != channels {
        pixels = pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..channels]).copied().collect();
    }
    Ok(Image { height, width, channels, pixels })
}

fn png_error(path: &Path, error: png::DecodingError) -> Error {
    match error {
        png::DecodingError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => Error::io(path)(source),
        error => unreadable(path, error),
    }
}

/// A decoder that gives `output`.
fn jpeg_decoder<T: ZByteReaderTrait>(input: T, output: ColorSpace) -> JpegDecoder<T> {
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    JpegDecoder::new_with_options(input, options.jpeg_set_out_colorspace(output))
}

fn jpeg_header<T: ZByteReaderTrait>(input: T) -> Result<Header, DecodeErrors> {
    let mut decoder = jpeg_decoder(input, ColorSpace::RGB);
    decoder.decode_headers()?;
    let ((width, height), color) = decoder.dimensions().zip(decoder.input_colorspace()).expect("headers are decoded");
    Ok(Header { height, width, grey: color == ColorSpace::Luma })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, DecodeErrors> {
    let Header { height, width, grey } = jpeg_header(ZCursor::new(bytes))?;
    let (channels, output) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    let pixels = jpeg_decoder(ZCursor::new(bytes), output).decode()?;
    Ok(Image { height, width, channels, pixels })
}

fn unreadable(path: &Path, reason: impl Display) -> Error {
    Error::format(path, format!("unreadable image: {reason}").replace('\n', " "))
}
