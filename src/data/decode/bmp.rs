//! BMP, by the crate `zune-bmp`.

use std::io::{Read, Seek, SeekFrom};

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
    check_length(input, [width, height])?;
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

/// Refuses a header that promises more pixels than the file has bytes for: to decode them would take long, and they would
/// be black.
fn check_length(input: &mut Input, [width, height]: [usize; 2]) -> Decoded<()> {
    let length = input.seek(SeekFrom::End(0))?;
    input.rewind()?;
    let mut head = [0; 34];
    input.read_exact(&mut head)?;
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let short = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let is_old = long(14) < 40;
    let bits = short(if is_old { 24 } else { 28 });
    let [width, height] = [width, height].map(|side| side as u64);
    let least = match long(30) {
        // Two bytes are a run of 255 pixels at most.
        1 | 2 if !is_old => width.saturating_mul(height) / 128,
        _ => (bits.saturating_mul(width).div_ceil(32) * 4).saturating_mul(height),
    };
    let follow = length.saturating_sub(u64::from(long(10)));
    if least > follow {
        return Err(format!("truncated: {width}x{height} pixels need {least} bytes, but {follow} follow").into());
    }
    Ok(())
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
    input.seek(SeekFrom::Start(14 + u64::from(long(14))))?;
    input.read_exact(&mut palette)?;
    Ok(all_grey(&palette, 4))
}
