//! The values of a page, in the encodings that columns of images and labels have.

use super::bits::{Differences, Runs};
use super::footer::Physical;
use super::thrift::Parsed;

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

/// Numbers of the encodings.
mod encoding {
    pub const PLAIN: i64 = 0;
    pub const PLAIN_DICTIONARY: i64 = 2;
    pub const RLE: i64 = 3;
    pub const DELTA_BINARY_PACKED: i64 = 5;
    pub const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
    pub const DELTA_BYTE_ARRAY: i64 = 7;
    pub const RLE_DICTIONARY: i64 = 8;
}

/// The distinct values of a chunk, by their places in a page.
#[derive(Debug)]
pub(super) struct Dictionary {
    physical: Physical,
    bytes: Vec<u8>,
    /// The first byte and the length of each value.
    spans: Vec<(usize, usize)>,
}

impl Dictionary {
    /// A dictionary of `count` values, which are written plainly.
    pub fn new(physical: Physical, bytes: Vec<u8>, count: u32) -> Parsed<Dictionary> {
        let mut plain = Plain { physical, bytes: &bytes, at: 0, bit: 0 };
        let spans = (0..count).map(|_| plain.span()).collect::<Parsed<_>>()?;
        Ok(Dictionary { physical, bytes, spans })
    }

    fn get(&self, place: u32) -> Parsed<Value<'_>> {
        let span = self.spans.get(place as usize);
        let &span = span.ok_or_else(|| format!("value {place} of a dictionary of {}", self.spans.len()))?;
        Ok(value_of(self.physical, &self.bytes, span))
    }
}

/// The value in a span that was measured for its type.
fn value_of(physical: Physical, bytes: &[u8], (first, length): (usize, usize)) -> Value<'_> {
    let bytes = &bytes[first..first + length];
    match (physical, bytes) {
        (Physical::Int32, &[a, b, c, d]) => Value::Integer(i32::from_le_bytes([a, b, c, d]).into()),
        (Physical::Int64, &[a, b, c, d, e, f, g, h]) => Value::Integer(i64::from_le_bytes([a, b, c, d, e, f, g, h])),
        (Physical::Boolean, &[truth]) => Value::Integer(truth.into()),
        _ => Value::Bytes(bytes),
    }
}

/// Values that are written one after the other.
struct Plain<'a> {
    physical: Physical,
    bytes: &'a [u8],
    at: usize,
    /// The next bit, of truths.
    bit: usize,
}

impl<'a> Plain<'a> {
    /// The place of the next value; not of truths, which have no bytes of their own.
    fn span(&mut self) -> Parsed<(usize, usize)> {
        let length = match self.physical {
            Physical::Int32 => 4,
            Physical::Int64 => 8,
            Physical::Bytes => {
                let length = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(ENDS_EARLY)?;
                self.at += 4;
                u32::from_le_bytes(*length) as usize
            }
            Physical::Boolean | Physical::Other => return Err("a type that is not read".into()),
        };
        let first = self.at;
        self.at = first.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(ENDS_EARLY)?;
        Ok((first, length))
    }

    fn next(&mut self) -> Parsed<Value<'a>> {
        if self.physical == Physical::Boolean {
            let byte = self.bytes.get(self.bit / 8).ok_or(ENDS_EARLY)?;
            self.bit += 1;
            return Ok(Value::Integer(i64::from(byte >> ((self.bit - 1) % 8) & 1)));
        }
        let span = self.span()?;
        Ok(value_of(self.physical, self.bytes, span))
    }
}

const ENDS_EARLY: &str = "its values end early";

/// The values of a page, from the first to the last.
pub(super) enum Values<'a> {
    #[expect(private_interfaces, reason = "built and read here only")]
    Plain(Plain<'a>),
    Places(Runs<'a>, &'a Dictionary),
    Truths(Runs<'a>),
    Differences(Differences<'a>),
    /// The lengths of the values, which follow them.
    Lengths(Differences<'a>, &'a [u8]),
    /// How much each value shares with the beginning of the one before it, and the lengths of what it adds.
    Suffixes {
        shared: Differences<'a>,
        lengths: Differences<'a>,
        bytes: &'a [u8],
        last: Vec<u8>,
    },
}

impl<'a> Values<'a> {
    /// The values of a page of a column of type `physical`.
    pub fn new(
        physical: Physical,
        encoding: i64,
        bytes: &'a [u8],
        dictionary: Option<&'a Dictionary>,
    ) -> Parsed<Values<'a>> {
        let is_integer = matches!(physical, Physical::Int32 | Physical::Int64);
        Ok(match encoding {
            encoding::PLAIN => Values::Plain(Plain { physical, bytes, at: 0, bit: 0 }),
            encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY => {
                let dictionary = dictionary.ok_or("the dictionary of its values is missing")?;
                let (&width, places) = bytes.split_first().ok_or(ENDS_EARLY)?;
                Values::Places(Runs::new(places, width.into())?, dictionary)
            }
            // After four bytes of length.
            encoding::RLE if physical == Physical::Boolean => {
                Values::Truths(Runs::new(bytes.get(4..).ok_or(ENDS_EARLY)?, 1)?)
            }
            encoding::DELTA_BINARY_PACKED if is_integer => Values::Differences(Differences::new(bytes)?),
            encoding::DELTA_LENGTH_BYTE_ARRAY if physical == Physical::Bytes => {
                Values::Lengths(Differences::new(bytes)?, Differences::new(bytes)?.rest()?)
            }
            encoding::DELTA_BYTE_ARRAY if physical == Physical::Bytes => {
                let lengths = Differences::new(bytes)?.rest()?;
                Values::Suffixes {
                    shared: Differences::new(bytes)?,
                    lengths: Differences::new(lengths)?,
                    bytes: Differences::new(lengths)?.rest()?,
                    last: Vec::new(),
                }
            }
            other => return Err(format!("values in the encoding {other} are not read")),
        })
    }

    pub fn next(&mut self) -> Parsed<Value<'_>> {
        match self {
            Values::Plain(plain) => plain.next(),
            Values::Places(places, dictionary) => dictionary.get(places.next()?),
            Values::Truths(truths) => truths.next().map(|truth| Value::Integer(truth.into())),
            Values::Differences(values) => values.next().map(Value::Integer),
            Values::Lengths(lengths, bytes) => cut(bytes, lengths.next()?).map(Value::Bytes),
            Values::Suffixes { shared, lengths, bytes, last } => {
                let shared = usize::try_from(shared.next()?).ok().filter(|&shared| shared <= last.len());
                last.truncate(shared.ok_or("a value shares more than there is")?);
                last.extend_from_slice(cut(bytes, lengths.next()?)?);
                Ok(Value::Bytes(last))
            }
        }
    }
}

/// Cuts a value off.
fn cut<'a>(bytes: &mut &'a [u8], length: i64) -> Parsed<&'a [u8]> {
    let cut = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (value, rest) = cut.ok_or(ENDS_EARLY)?;
    *bytes = rest;
    Ok(value)
}
