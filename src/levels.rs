//! The 256 levels of a pixel and their values in [-1, 1]: the one place where bytes become numbers and numbers bytes.

/// The value of a level: {0, ..., 255} to [-1, 1].
pub fn value(level: u8) -> f32 {
    f32::from(level) / 127.5 - 1.0
}

/// The level nearest to a value. Values outside [-1, 1] are clamped, not-a-number becomes 0.
pub fn level(value: f32) -> u8 {
    position(value) as u8
}

/// Rounds a value to that of the nearest level; not-a-number stays.
pub fn quantise(value: f32) -> f32 {
    position(value) / 127.5 - 1.0
}

/// Black (-1) or white (1). Mid-grey is white, because [`level`] rounds it up: an image is the same in black and white
/// whether it was written to a file in between or not.
pub fn binarise(value: f32) -> f32 {
    if position(value) >= 128.0 { 1.0 } else { -1.0 }
}

/// Stretches the values of one image to its own extremes, black and white, as some programs write their pictures; an image
/// of one value stays.
pub fn stretch(image: &mut [f32]) {
    let [low, high] = [f32::INFINITY, f32::NEG_INFINITY];
    let (low, high) = image.iter().fold((low, high), |(low, high), &v| (low.min(v), high.max(v)));
    if low < high {
        image.iter_mut().for_each(|v| *v = (*v - low) / (high - low) * 2.0 - 1.0);
    }
}

/// The number of the nearest level.
fn position(value: f32) -> f32 {
    (value.clamp(-1.0, 1.0) * 127.5 + 127.5).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_the_way_to_its_value_and_back() {
        for i in 0..=255 {
            assert_eq!(level(value(i)), i);
            assert_eq!(quantise(value(i)), value(i));
        }
        assert_eq!([-7.0, 7.0, f32::NAN, f32::INFINITY].map(level), [0, 255, 0, 255]);
        assert!(quantise(f32::NAN).is_nan());
    }

    /// Ink that overshoots and paper that does not reach white: the paper becomes grey.
    #[test]
    fn an_image_is_stretched_to_its_own_extremes() {
        let mut image = [-1.5, -1.0, 0.0, 0.5];
        stretch(&mut image);
        assert_eq!(image, [-1.0, -0.5, 0.5, 1.0]);
        let (mut grey, mut clean) = ([0.3; 4], [-1.0, 0.25, 1.0]);
        stretch(&mut grey);
        stretch(&mut clean);
        assert_eq!((grey, clean), ([0.3; 4], [-1.0, 0.25, 1.0]));
    }

    #[test]
    fn black_and_white_is_the_same_before_and_after_rounding() {
        for x in [-1.0, -0.004, -1e-6, -1e-9, 0.0, 1e-9, 0.003, 1.0f32] {
            assert_eq!(binarise(x), binarise(quantise(x)), "{x}");
        }
    }
}
