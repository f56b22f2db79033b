//! JPEG, by the crate `zune-jpeg`.

use std::io::Read;

use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{
        bytestream::{ZByteReaderTrait, ZCursor},
        colorspace::ColorSpace,
        options::DecoderOptions,
    },
};

use super::codec::{Codec, Decoded, Header};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const JPEG: Codec = Codec {
    name: "JPEG",
    extensions: &["jpg", "jpeg"],
    begins: |head| head.starts_with(&[0xff, 0xd8, 0xff]),
    header: |input| Ok(header(input)?),
    decode,
};

/// A decoder that gives `output` and takes no image that is damaged.
fn decoder<T: ZByteReaderTrait>(input: T, output: ColorSpace) -> JpegDecoder<T> {
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    JpegDecoder::new_with_options(input, options.jpeg_set_out_colorspace(output))
}

fn header<T: ZByteReaderTrait>(input: T) -> Result<Header, DecodeErrors> {
    let mut decoder = decoder(input, ColorSpace::RGB);
    decoder.decode_headers()?;
    let ((width, height), color) = decoder.dimensions().zip(decoder.input_colorspace()).expect("headers are decoded");
    let orientation = decoder.exif().map_or(Orientation::UPRIGHT, |exif| Orientation::of_exif(exif));
    Ok(Header { height, width, grey: color == ColorSpace::Luma, orientation })
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    if !is_complete(&bytes) {
        return Err("truncated: the end of the image is missing".into());
    }
    let Header { height, width, grey, .. } = header(ZCursor::new(&bytes[..]))?;
    let (channels, output) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    let pixels = decoder(ZCursor::new(&bytes[..]), output).decode()?;
    Ok(Image { height, width, channels, pixels })
}

/// Walks over the segments to the marker that ends the image. The decoder itself does without it.
fn is_complete(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&[prefix, marker]) = bytes.get(at..at + 2) {
        match (prefix, marker) {
            (0xff, END) => return true,
            // Within a scan, only markers other than these begin a segment: stuffing, restarts, fill bytes.
            (0xff, 0 | 0xd0..=0xd7) if in_scan => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                in_scan = marker == SCAN;
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ => at += 1,
        }
    }
    false
}
