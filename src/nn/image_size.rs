//! The size of images as a setting: one number for squares, `[height, width]` for other rectangles.

use crate::{Error, Result};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Height and width of the images. In files a square is one number, another rectangle `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl ImageSize {
    /// Checks that such images can be halved a number of times.
    ///
    /// # Errors
    /// The setting, and the number of which height and width must be multiples.
    pub(super) fn check_halvings(self, halvings: usize) -> Result<()> {
        let divisor = 1u64 << halvings.min(63);
        if self.height == 0 || self.width == 0 {
            return Err(Error::Config("model.image_size must be at least 1".into()));
        }
        if halvings < 16 && [self.height, self.width].iter().all(|&side| (side as u64).is_multiple_of(divisor)) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "model.image_size = {self} cannot be halved {halvings} times; it must be a multiple of {divisor}"
        )))
    }
}

impl From<usize> for ImageSize {
    fn from(side: usize) -> ImageSize {
        ImageSize { height: side, width: side }
    }
}

impl From<[usize; 2]> for ImageSize {
    fn from([height, width]: [usize; 2]) -> ImageSize {
        ImageSize { height, width }
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.height == self.width {
            write!(f, "{}", self.height)
        } else {
            write!(f, "[{}, {}]", self.height, self.width)
        }
    }
}

impl Serialize for ImageSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.height == self.width {
            self.height.serialize(serializer)
        } else {
            [self.height, self.width].serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ImageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ImageSize, D::Error> {
        struct Sides;

        impl<'de> Visitor<'de> for Sides {
            type Value = ImageSize;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number of pixels, or [height, width]")
            }

            fn visit_u64<E: serde::de::Error>(self, side: u64) -> Result<ImageSize, E> {
                Ok(ImageSize::from(side as usize))
            }

            fn visit_i64<E: serde::de::Error>(self, side: i64) -> Result<ImageSize, E> {
                usize::try_from(side)
                    .map(ImageSize::from)
                    .map_err(|_| E::custom(format!("{side} is no size of an image")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ImageSize, A::Error> {
                let mut side = |i| list.next_element()?.ok_or_else(|| A::Error::invalid_length(i, &self));
                let sides = [side(0)?, side(1)?];
                match list.next_element::<usize>()? {
                    None => Ok(sides.into()),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }

        deserializer.deserialize_any(Sides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{ModelConfig, UNetConfig};

    #[test]
    fn files_hold_a_number_or_two() {
        let read = |text: &str| toml::from_str::<UNetConfig>(text).map(|config| config.image_size);
        assert_eq!(read("image_size = 32").unwrap(), ImageSize::from(32));
        assert_eq!(read("image_size = [16, 24]").unwrap(), ImageSize { height: 16, width: 24 });
        for wrong in ["[16]", "[16, 24, 3]", "-1", "[16, -1]", "\"16\"", "1.5"] {
            read(&format!("image_size = {wrong}")).unwrap_err();
        }
        let message = read("image_size = [16]").unwrap_err().to_string();
        assert!(message.contains("a number of pixels, or [height, width]"), "{message}");
        for size in [ImageSize::from(32), ImageSize { height: 16, width: 24 }] {
            let config = ModelConfig::from(UNetConfig { image_size: size, ..UNetConfig::default() });
            let json: ModelConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
            let toml: ModelConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
            assert_eq!([&json, &toml], [&config; 2]);
            assert_eq!(config.sample_dims()[..2], [size.height, size.width]);
        }
    }

    #[test]
    fn both_sides_must_be_divisible() {
        let check = |h, w, halvings| ImageSize { height: h, width: w }.check_halvings(halvings);
        check(16, 24, 3).unwrap();
        let message = check(16, 24, 4).unwrap_err().to_string();
        assert!(message.contains("model.image_size = [16, 24] cannot be halved 4 times"), "{message}");
        check(24, 16, 4).unwrap_err();
        check(0, 16, 0).unwrap_err();
        check(16, 16, 400).unwrap_err();
    }
}
