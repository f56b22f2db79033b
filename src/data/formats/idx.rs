//! The idx format of MNIST and its many successors: a big-endian header (0, 0, element type, number of dimensions,
//! then each dimension), then the elements; often compressed with gzip.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::emnist;
use super::format::{Description, Format, Head, Holds, LAST_CLASS, Listing, MOST_INFLATED, gzip_error, number};
use crate::data::{
    dataset::{Dataset, Pixels, Samples},
    names::{display_name, file_name, split_of_file},
    options::DataOptions,
};
use crate::engine::device::map_file;
use crate::{Error, Result};

/// The format idx: a file of images and a file of labels for each split.
#[derive(Debug)]
pub(super) struct Idx;

impl Format for Idx {
    fn describe(&self) -> Description {
        Description {
            source: "DIR with idx files",
            contents: "MNIST, Fashion-MNIST, EMNIST, ...: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...; plain or .gz",
            file: "one idx file of images",
            files: "idx files",
        }
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        let holds = |magic: Magic| if magic.holds_images() { Holds::Samples } else { Holds::Labels };
        Ok(Magic::recognise(&head.bytes).map(holds))
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        let name = file_name(path);
        let holds = if name.contains("labels") { Holds::Labels } else { Holds::Samples };
        name.contains("ubyte").then_some(holds)
    }

    /// One file of images: a plain file beside its compressed original is the same data and needs no memory.
    fn pair(&self, folder: &Path, mut images: Vec<PathBuf>, labels: &[PathBuf]) -> Result<Listing> {
        let plain: Vec<PathBuf> = images.iter().filter(|path| !is_named_gzip(path)).cloned().collect();
        images.retain(|path| !(is_named_gzip(path) && plain.contains(&path.with_extension(""))));
        let [images] = &images[..] else {
            let names = images.iter().map(|path| file_name(path)).collect::<Vec<_>>().join(", ");
            return Err(Error::format(folder, format!("holds several sets of images ({names}): give the path of one")));
        };
        let stem = |path: &Path| file_name(path).trim_end_matches(".gz").to_owned();
        let partner = labels_name(images).map(|name| name.trim_end_matches(".gz").to_owned());
        let beside = labels_name(images).map(|name| images.with_file_name(name)).filter(|labels| labels.exists());
        let by_name = || labels.iter().find(|path| Some(stem(path)) == partner).cloned();
        let same_split: Vec<&PathBuf> =
            labels.iter().filter(|path| split_of_file(path) == split_of_file(images)).collect();
        let only_one = || if let [one] = same_split[..] { Some(one.clone()) } else { None };
        Ok(Listing { labels: beside.or_else(by_name).or_else(only_one), ..Listing::of(vec![images.clone()]) })
    }

    fn read(&self, source: &Path, listing: Listing, _options: &DataOptions) -> Result<Dataset> {
        read(source, listing)
    }
}

/// The name of the labels beside a file of images: `train-images-idx3-ubyte` -> `train-labels-idx1-ubyte`.
fn labels_name(images: &Path) -> Option<String> {
    let name = file_name(images);
    name.contains("images").then(|| name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1"))
}

fn is_named_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// The first bytes: element type and number of dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Magic {
    element: u8,
    dimensions: u8,
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes of the header of an array of four dimensions.
const LONGEST_HEADER: u64 = 20;
const UNSIGNED_BYTES: u8 = 0x08;
/// Bytes of an element, by its type: unsigned and signed bytes, integers, floats.
const ELEMENTS: [(u8, usize); 6] = [(UNSIGNED_BYTES, 1), (0x09, 1), (0x0B, 2), (0x0C, 4), (0x0D, 4), (0x0E, 8)];

impl Magic {
    /// Recognises the start of an (uncompressed) idx file.
    fn recognise(head: &[u8]) -> Option<Magic> {
        match *head {
            [0, 0, element, dimensions @ 1..=4, ..] if ELEMENTS.iter().any(|(of, _)| *of == element) => {
                Some(Magic { element, dimensions })
            }
            _ => None,
        }
    }

    /// True of a set of images: `[n, h, w]` or `[n, h, w, c]`.
    fn holds_images(self) -> bool {
        self.dimensions >= 3
    }

    /// The integer at the beginning of some elements, big-endian; `None` for floats.
    fn integer(self, elements: &[u8]) -> Option<i64> {
        match (self.element, elements) {
            (0x08, [byte, ..]) => Some((*byte).into()),
            (0x09, [byte, ..]) => Some((*byte as i8).into()),
            (0x0B, [a, b, ..]) => Some(i16::from_be_bytes([*a, *b]).into()),
            (0x0C, [a, b, c, d, ..]) => Some(i32::from_be_bytes([*a, *b, *c, *d]).into()),
            _ => None,
        }
    }

    fn element_bytes(self) -> usize {
        ELEMENTS.iter().find(|(of, _)| *of == self.element).map_or(1, |(_, bytes)| *bytes)
    }
}

/// The contents of an idx file.
#[derive(Debug)]
struct Array {
    magic: Magic,
    dims: Vec<usize>,
    elements: Pixels,
    gzip: bool,
}

/// Reads a set of images and its labels. `source` is the file or folder that the user named.
fn read(source: &Path, listing: Listing) -> Result<Dataset> {
    let images = &listing.samples[0];
    let Array { magic, dims, elements, gzip } = read_file(images)?;
    if magic.element != UNSIGNED_BYTES {
        let reason =
            format!("holds idx elements of type 0x{:02x}; only unsigned bytes (0x08) are images", magic.element);
        return Err(Error::format(images, reason));
    }
    let (len, height, width) = (dims[0], dims[1], dims[2]);
    let channels = dims.get(3).copied().unwrap_or(1);
    if len * height * width * channels == 0 {
        return Err(Error::format(images, format!("holds no pixels: its dimensions are {dims:?}")));
    }
    let labels = listing.labels.as_deref().map(|path| read_labels(path, images, len)).transpose()?;
    let (labels, class_names) =
        labels.map(|labels| emnist::name(images, &labels).unwrap_or_else(|| number(labels))).unzip();
    let dataset = Dataset {
        name: display_name(source),
        format: if gzip { "idx, gzip" } else { "idx, mapped" }.into(),
        len,
        height,
        width,
        channels,
        samples: Samples::Images(elements),
        labels,
        class_names: class_names.unwrap_or_default(),
        notes: listing.notes,
    };
    Ok(if emnist::is_emnist(images) {
        dataset.transpose("EMNIST stores its images on their side: turned")
    } else {
        dataset
    })
}

/// Reads the first number of every row: of QMNIST's eight columns the class, elsewhere the only one.
fn read_labels(path: &Path, images: &Path, len: usize) -> Result<Vec<u32>> {
    let Array { magic, dims, elements, .. } = read_file(path)?;
    if dims[0] != len {
        let reason = format!("holds {} labels, but {} holds {len} images", dims[0], images.display());
        return Err(Error::format(path, reason));
    }
    let row = dims[1..].iter().product::<usize>() * magic.element_bytes();
    let rows = elements.bytes().chunks_exact(row.max(1)).enumerate();
    rows.map(|(i, row)| {
        let number = magic.integer(row).ok_or_else(|| Error::format(path, "its labels are no integers"))?;
        match u32::try_from(number) {
            Ok(label) if label <= LAST_CLASS => Ok(label),
            _ => Err(Error::format(path, format!("label {i} is {number}; classes are numbered 0 to {LAST_CLASS}"))),
        }
    })
    .collect()
}

/// Reads one file: mapped if it is plain, into memory if it is compressed.
fn read_file(path: &Path) -> Result<Array> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = [0; 2];
    if file.read_exact(&mut head).is_ok() && head == GZIP {
        return read_gzip(path);
    }
    let map = map_file(&file).map_err(Error::io(path))?;
    let Promise { magic, dims, header, bytes } = promise(path, &map)?;
    check_length(path, &dims, bytes, map.len() - header, "")?;
    Ok(Array { magic, dims, elements: Pixels::Mapped { map, offset: header }, gzip: false })
}

/// Inflates as much as the header promises, and one byte more to see that nothing follows.
fn read_gzip(path: &Path) -> Result<Array> {
    let mut stream = MultiGzDecoder::new(File::open(path).map_err(Error::io(path))?);
    let mut head = Vec::new();
    stream.by_ref().take(LONGEST_HEADER).read_to_end(&mut head).map_err(|e| gzip_error(path, e))?;
    let Promise { magic, dims, header, bytes } = promise(path, &head)?;
    let Some(promised) = bytes.filter(|&bytes| bytes <= MOST_INFLATED) else {
        let reason =
            format!("promises more than {MOST_INFLATED} bytes, the most that is inflated into memory: unpack it");
        return Err(Error::format(path, reason));
    };
    let mut elements = head.split_off(header.min(head.len()));
    let rest = (promised + 1).saturating_sub(elements.len());
    stream.take(rest as u64).read_to_end(&mut elements).map_err(|e| gzip_error(path, e))?;
    check_length(path, &dims, bytes, elements.len(), if elements.len() > promised { " or more" } else { "" })?;
    Ok(Array { magic, dims, elements: Pixels::Memory(elements), gzip: true })
}

/// The promises of a header.
struct Promise {
    magic: Magic,
    dims: Vec<usize>,
    /// Length of the header in bytes.
    header: usize,
    /// Bytes of the elements; `None`: more than can be addressed.
    bytes: Option<usize>,
}

fn promise(path: &Path, bytes: &[u8]) -> Result<Promise> {
    let magic = Magic::recognise(bytes).ok_or_else(|| Error::format(path, "not an idx file"))?;
    let header = 4 + 4 * usize::from(magic.dimensions);
    if bytes.len() < header {
        let reason =
            format!("truncated: an idx header of {header} bytes was expected, but the file ends after {}", bytes.len());
        return Err(Error::format(path, reason));
    }
    let dims = bytes[4..header].chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize);
    let dims: Vec<usize> = dims.collect();
    let bytes = dims.iter().try_fold(magic.element_bytes(), |product, &dim| product.checked_mul(dim));
    Ok(Promise { magic, dims, header, bytes })
}

fn check_length(path: &Path, dims: &[usize], promised: Option<usize>, follow: usize, more: &str) -> Result<()> {
    if promised == Some(follow) {
        return Ok(());
    }
    let fault = if promised.is_none_or(|promised| promised > follow) { "truncated" } else { "too long" };
    let promised = promised.map_or("more than this machine can address".into(), |promised| promised.to_string());
    let product = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    let reason =
        format!("{fault}: its header promises {product} = {promised} bytes of data, but {follow}{more} follow");
    Err(Error::format(path, reason))
}
