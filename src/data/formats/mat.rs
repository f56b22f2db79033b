//! Arrays of numbers in MATLAB's files of version 5 (`save -v6`, `-v7`), plain or compressed element by element.

use std::{io::Read, path::Path};

use flate2::read::ZlibDecoder;

use super::format::MOST_INFLATED;
use crate::data::archive::Bytes;
use crate::{Error, Result};

/// Bytes before the first element: a text, the version and the byte order.
const HEADER: usize = 128;
/// Types of elements.
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Types of numbers with their widths, by their codes.
const NUMBERS: [(u32, Number); 9] = [
    (1, Number { width: 1, kind: Kind::Signed }),
    (2, Number { width: 1, kind: Kind::Unsigned }),
    (3, Number { width: 2, kind: Kind::Signed }),
    (4, Number { width: 2, kind: Kind::Unsigned }),
    (5, Number { width: 4, kind: Kind::Signed }),
    (6, Number { width: 4, kind: Kind::Unsigned }),
    (9, Number { width: 8, kind: Kind::Double }),
    (12, Number { width: 8, kind: Kind::Signed }),
    (13, Number { width: 8, kind: Kind::Unsigned }),
];

/// A type of numbers; of reals only doubles, the type that MATLAB gives to all it is not told another for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub width: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Signed,
    Unsigned,
    Double,
}

/// An array of numbers in column-major order.
#[derive(Debug)]
pub(super) struct Matrix {
    pub dims: Vec<usize>,
    pub number: Number,
    pub bytes: Vec<u8>,
}

impl Matrix {
    /// All elements, but nothing for those that are no integers.
    pub fn integers(&self) -> impl Iterator<Item = Option<i64>> {
        let Number { width, kind } = self.number;
        self.bytes.chunks_exact(width).map(move |bytes| {
            let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            let unused = 64 - 8 * width as u32;
            match kind {
                Kind::Signed => Some((value << unused) as i64 >> unused),
                Kind::Unsigned => i64::try_from(value).ok(),
                Kind::Double => {
                    Some(f64::from_bits(value)).filter(|value| value.fract() == 0.0).map(|value| value as i64)
                }
            }
        })
    }
}

/// True of the first bytes of such a file.
pub(super) fn is_mat(head: &[u8]) -> bool {
    head.starts_with(b"MATLAB 5.0 MAT-file") && matches!(head.get(124..128), Some([0, 1, b'I', b'M']))
}

/// The names of the arrays in a file, as far as it is sound.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let file = Bytes::map(path)?;
    let mut names = Vec::new();
    for element in elements(file.as_ref()).map_while(|element| element.ok()) {
        if let Ok(Some(head)) = matrix_head(&mut element.open()) {
            names.push(head.name);
        }
    }
    Ok(names)
}

/// Reads the array of a name.
///
/// # Errors
/// A file that is damaged or has no such array of numbers.
pub(super) fn read(path: &Path, name: &str) -> Result<Matrix> {
    let file = Bytes::map(path)?;
    find(file.as_ref(), name).map_err(|reason| Error::format(path, reason))
}

fn find(file: &[u8], name: &str) -> Result<Matrix, String> {
    for element in elements(file) {
        let mut stream = element?.open();
        let Some(MatrixHead { name: found, dims }) = matrix_head(&mut stream)? else { continue };
        if found != name {
            continue;
        }
        let wrong = |reason: String| format!("array {name}: {reason}");
        let Tag { kind, length, inside } = tag(&mut stream).map_err(wrong)?;
        let number = NUMBERS.iter().find(|(code, _)| *code == kind).map(|(_, number)| *number);
        let number = number.ok_or_else(|| wrong("its elements are neither integers nor doubles".into()))?;
        let promised = dims.iter().try_fold(number.width, |product, &dim| product.checked_mul(dim));
        if promised != Some(length) || length > MOST_INFLATED {
            return Err(wrong(format!("its header promises {dims:?} elements, but {length} bytes")));
        }
        let bytes = match inside {
            Some(bytes) => bytes[..length].to_vec(),
            None => exactly(&mut stream, length).map_err(wrong)?,
        };
        return Ok(Matrix { dims, number, bytes });
    }
    Err(format!("has no array {name}"))
}

/// An element of the file, with what follows its tag.
struct Element<'a> {
    compressed: bool,
    bytes: &'a [u8],
}

impl<'a> Element<'a> {
    fn open(&self) -> Box<dyn Read + 'a> {
        // The tag of a plain element is read again from its bytes.
        if self.compressed { Box::new(ZlibDecoder::new(self.bytes)) } else { Box::new(self.bytes) }
    }
}

/// The elements of a file, until one is damaged.
fn elements(file: &[u8]) -> impl Iterator<Item = Result<Element<'_>, String>> {
    let mut rest = file.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<8>()?;
        let [kind, length] = [&head[..4], &head[4..]].map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]]));
        let Some(bytes) = after.get(..length as usize) else {
            let reason = format!("truncated: an element of {length} bytes was promised, but {} follow", after.len());
            rest = &[];
            return Some(Err(reason));
        };
        let whole = &rest[..8 + bytes.len()];
        rest = &after[bytes.len()..];
        let compressed = kind == COMPRESSED;
        Some(Ok(Element { compressed, bytes: if compressed { bytes } else { whole } }))
    })
}

/// The tag of a part of an element. Up to four bytes stand in the tag itself.
struct Tag {
    kind: u32,
    length: usize,
    inside: Option<[u8; 4]>,
}

fn tag(stream: &mut impl Read) -> Result<Tag, String> {
    let bytes = exactly(stream, 8)?;
    let [first, second] = [&bytes[..4], &bytes[4..]].map(|n| [n[0], n[1], n[2], n[3]]);
    let word = u32::from_le_bytes(first);
    if word >> 16 == 0 {
        return Ok(Tag { kind: word, length: u32::from_le_bytes(second) as usize, inside: None });
    }
    let length = (word >> 16) as usize;
    if length > 4 {
        return Err(format!("damaged: {length} bytes do not fit into a tag"));
    }
    Ok(Tag { kind: word & 0xffff, length, inside: Some(second) })
}

/// A part that describes the array: few bytes, filled up to a multiple of eight.
fn part(stream: &mut impl Read) -> Result<Vec<u8>, String> {
    const MOST: usize = 1 << 10;
    let Tag { length, inside, .. } = tag(stream)?;
    if let Some(bytes) = inside {
        return Ok(bytes[..length].to_vec());
    }
    if length > MOST {
        return Err(format!("damaged: {length} bytes describe an array"));
    }
    let mut bytes = exactly(stream, length.next_multiple_of(8))?;
    bytes.truncate(length);
    Ok(bytes)
}

struct MatrixHead {
    name: String,
    dims: Vec<usize>,
}

/// Reads up to the numbers of an array; nothing if the element is something else.
fn matrix_head(stream: &mut impl Read) -> Result<Option<MatrixHead>, String> {
    if tag(stream)?.kind != MATRIX {
        return Ok(None);
    }
    let _flags = part(stream)?;
    let dims = part(stream)?;
    let dims = dims.chunks_exact(4).map(|n| i32::from_le_bytes([n[0], n[1], n[2], n[3]]));
    let dims = dims.map(|dim| usize::try_from(dim).map_err(|_| format!("damaged: a dimension of {dim}")));
    let dims = dims.collect::<Result<Vec<usize>, String>>()?;
    Ok(Some(MatrixHead { name: String::from_utf8_lossy(&part(stream)?).into_owned(), dims }))
}

/// Reads so many bytes, and no memory is taken for bytes that do not come.
fn exactly(stream: &mut impl Read, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).map_err(|e| format!("damaged: {e}"))?;
    if bytes.len() < length {
        return Err(format!("truncated: {length} bytes were promised, but {} follow", bytes.len()));
    }
    Ok(bytes)
}
