//! The idx format of MNIST and its many successors: a big-endian header (0, 0, element type, number of dimensions,
//! then each dimension), then the elements; often compressed with gzip.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::dataset::{Dataset, Pixels, Samples};
use crate::engine::device::map_file;
use crate::{Error, Result};

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    element: u8,
    pub(super) dimensions: u8,
}

const UNSIGNED_BYTES: u8 = 0x08;

impl Magic {
    /// Recognises the start of an (uncompressed) idx file.
    pub(super) fn recognise(head: &[u8]) -> Option<Magic> {
        match *head {
            [0, 0, element @ (0x08 | 0x09 | 0x0B..=0x0E), dimensions @ 1..=4, ..] => {
                Some(Magic { element, dimensions })
            }
            _ => None,
        }
    }

    /// Whether this can be a set of images: `[n, h, w]` or `[n, h, w, c]`.
    pub(super) fn holds_images(self) -> bool {
        self.dimensions >= 3
    }
}

/// Whether a file starts like a gzip stream.
pub(super) fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

/// An error while decompressing, told apart: a stream that stops, and one that is wrong.
pub(super) fn gzip_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::format(path, "truncated: the gzip stream ends early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Error::format(path, format!("corrupt gzip file: {error}"))
        }
        _ => Error::io(path)(error),
    }
}

/// The contents of an idx file of bytes.
#[derive(Debug)]
struct Idx {
    dims: Vec<usize>,
    elements: Pixels,
    gzip: bool,
}

/// Reads a set of images and its labels. `source` is what the user named.
pub(super) fn read(source: &Path, images: &Path, labels: Option<&Path>) -> Result<Dataset> {
    let Idx { dims, elements, gzip } = read_file(images)?;
    let (len, height, width) = (dims[0], dims[1], dims[2]);
    let channels = dims.get(3).copied().unwrap_or(1);
    if len * height * width * channels == 0 {
        return Err(Error::format(images, format!("holds no pixels: its dimensions are {dims:?}")));
    }
    let labels = labels.map(|path| read_labels(path, images, len)).transpose()?;
    let classes = labels.iter().flatten().max().map_or(0, |&last| last + 1);
    Ok(Dataset {
        name: super::locate::display_name(source),
        format: if gzip { "idx, gzip" } else { "idx, mapped" }.into(),
        len,
        height,
        width,
        channels,
        samples: Samples::Images(elements),
        labels,
        class_names: (0..classes).map(|class| class.to_string()).collect(),
    })
}

fn read_labels(path: &Path, images: &Path, len: usize) -> Result<Vec<u32>> {
    let idx = read_file(path)?;
    if idx.dims[0] != len {
        let reason = format!("holds {} labels, but {} holds {len} images", idx.dims[0], images.display());
        return Err(Error::format(path, reason));
    }
    Ok(idx.elements.bytes().iter().copied().map(u32::from).collect())
}

/// Reads one file: mapped if it is plain, into memory if it is compressed.
fn read_file(path: &Path) -> Result<Idx> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = [0; 2];
    let gzip = file.read_exact(&mut head).is_ok() && is_gzip(&head);
    let pixels = if gzip {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        MultiGzDecoder::new(file).read_to_end(&mut bytes).map_err(|e| gzip_error(path, e))?;
        Pixels::Memory(bytes)
    } else {
        Pixels::Mapped { map: map_file(&file).map_err(Error::io(path))?, offset: 0 }
    };

    let (dims, header) = parse_header(path, pixels.bytes())?;
    let wanted = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let came = pixels.bytes().len() - header;
    if wanted != Some(came) {
        let what = if wanted.is_none_or(|wanted| wanted > came) { "truncated" } else { "too long" };
        let wanted = wanted.map_or("more than this machine can address".into(), |wanted| wanted.to_string());
        let product = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let reason = format!("{what}: its header promises {product} = {wanted} bytes of data, but {came} follow");
        return Err(Error::format(path, reason));
    }
    let elements = match pixels {
        Pixels::Mapped { map, .. } => Pixels::Mapped { map, offset: header },
        Pixels::Memory(mut bytes) => {
            bytes.drain(..header);
            Pixels::Memory(bytes)
        }
    };
    Ok(Idx { dims, elements, gzip })
}

/// The dimensions, and the number of bytes that they take.
fn parse_header(path: &Path, bytes: &[u8]) -> Result<(Vec<usize>, usize)> {
    let magic = Magic::recognise(bytes).ok_or_else(|| Error::format(path, "not an idx file"))?;
    if magic.element != UNSIGNED_BYTES {
        let reason = format!("holds idx elements of type 0x{:02x}; only unsigned bytes (0x08) are read", magic.element);
        return Err(Error::format(path, reason));
    }
    let header = 4 + 4 * usize::from(magic.dimensions);
    if bytes.len() < header {
        let reason =
            format!("truncated: an idx header of {header} bytes was expected, but the file ends after {}", bytes.len());
        return Err(Error::format(path, reason));
    }
    let dims = bytes[4..header].chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize);
    Ok((dims.collect(), header))
}
