//! BMP, by the crate `zune-bmp`.

use std::io::{Read, Seek};

use zune_bmp::{
    BmpDecoder,
    zune_core::{colorspace::ColorSpace, options::DecoderOptions},
};

use super::codec::{Codec, Decoded, Header, MAX_PIXELS, all_grey, drop_alpha, first_channel};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const BMP: Codec = Codec {
    name: "BMP",
    extensions: &["bmp", "dib"],
    // "BM", the length of the file, four bytes that are reserved: most writers leave them 0.
    begins: |head| head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]),
    header,
    decode,
};

fn decoder(input: &mut Input) -> BmpDecoder<&mut Input> {
    let options = DecoderOptions::default().set_max_width(MAX_PIXELS).set_max_height(MAX_PIXELS);
    BmpDecoder::new_with_options(input, options)
}

fn header(input: &mut Input) -> Decoded<Header> {
    let grey = has_grey_palette(input)?;
    input.rewind()?;
    let mut decoder = decoder(input);
    decoder.decode_headers().map_err(|e| format!("{e:?}"))?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    Ok(Header { height, width, grey, orientation: Orientation::UPRIGHT })
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let Header { height, width, grey, .. } = header(input)?;
    input.rewind()?;
    let mut decoder = decoder(input);
    let pixels = decoder.decode().map_err(|e| format!("{e:?}"))?;
    let samples = match decoder.colorspace() {
        Some(ColorSpace::RGB) => 3,
        Some(ColorSpace::RGBA) => 4,
        other => return Err(format!("its colours are {other:?}").into()),
    };
    let pixels = drop_alpha(pixels, samples, 3);
    if grey {
        return Ok(Image { height, width, channels: 1, pixels: first_channel(&pixels) });
    }
    Ok(Image { height, width, channels: 3, pixels })
}

/// True of a palette whose colours are all grey: how grey images are stored.
fn has_grey_palette(input: &mut Input) -> Decoded<bool> {
    let mut head = [0; 54];
    input.read_exact(&mut head)?;
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let bits = u16::from_le_bytes([head[28], head[29]]);
    if long(14) < 40 || bits > 8 {
        return Ok(false);
    }
    let colours = match long(46) {
        0 => 1 << bits,
        used => used.min(1 << bits),
    };
    let mut palette = vec![0; 4 * colours as usize];
    input.seek(std::io::SeekFrom::Start(14 + u64::from(long(14))))?;
    input.read_exact(&mut palette)?;
    Ok(all_grey(&palette, 4))
}
