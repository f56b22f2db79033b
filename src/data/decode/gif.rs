//! GIF, by the crate `gif`: the first frame.

use std::num::NonZeroU64;

use ::gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};

use super::codec::{Codec, Decoded, Header, MAX_PIXELS, all_grey, first_channel};
use super::image::Image;
use super::input::Input;
use super::orientation::Orientation;

pub(super) const GIF: Codec = Codec {
    name: "GIF",
    extensions: &["gif"],
    begins: |head| head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a"),
    header: |input| Ok(header_of(&decoder(input)?)),
    decode,
};

fn decoder(input: &mut Input) -> Result<Decoder<&mut Input>, DecodingError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.check_frame_consistency(true);
    let limit = NonZeroU64::new(8 * MAX_PIXELS as u64).expect("a limit above 0");
    options.set_memory_limit(MemoryLimit::Bytes(limit));
    options.read_info(input)
}

/// Grey where all colours of the palette are.
fn header_of(decoder: &Decoder<&mut Input>) -> Header {
    Header {
        height: decoder.height().into(),
        width: decoder.width().into(),
        grey: decoder.global_palette().is_some_and(|palette| all_grey(palette, 3)),
        orientation: Orientation::UPRIGHT,
    }
}

fn decode(input: &mut Input) -> Decoded<Image> {
    let mut decoder = decoder(input)?;
    let Header { height, width, grey, .. } = header_of(&decoder);
    let frame = decoder.read_next_frame()?.ok_or("it holds no frame")?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let mut pixels = vec![0; height * width * 3];
    for (y, row) in frame.buffer.chunks_exact(4 * usize::from(frame.width.max(1))).enumerate() {
        let canvas = pixels[3 * ((top + y) * width + left)..].chunks_exact_mut(3);
        canvas.zip(row.chunks_exact(4)).for_each(|(out, pixel)| out.copy_from_slice(&pixel[..3]));
    }
    if grey && frame.palette.is_none() {
        return Ok(Image { height, width, channels: 1, pixels: first_channel(&pixels) });
    }
    Ok(Image { height, width, channels: 3, pixels })
}
