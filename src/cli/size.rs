//! The size of images as an option.

/// Parses `32` or, height first, `24x32`.
pub fn image_size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').unwrap_or((text, text));
    let side = |side: &str| side.parse::<usize>().ok().filter(|&side| side > 0);
    match (side(sides.0), side(sides.1)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err("a number of pixels or HEIGHTxWIDTH is expected, such as 32 or 24x32".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_a_square_and_two_are_height_and_width() {
        assert_eq!(image_size("32"), Ok([32, 32]));
        assert_eq!(image_size("24x32"), Ok([24, 32]));
        for wrong in ["", "x", "0", "24x", "24x0", "24x32x3", "-4", "24 x 32"] {
            image_size(wrong).unwrap_err();
        }
    }
}
