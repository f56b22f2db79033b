//! The idx format of MNIST and its many successors: a big-endian header (0, 0, element type, number of dimensions,
//! then each dimension), then the elements; often compressed with gzip.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::format::{Description, Format, Head, Holds, Listing, gzip_error};
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
        read(source, &listing.samples[0], listing.labels.as_deref())
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

const UNSIGNED_BYTES: u8 = 0x08;

impl Magic {
    /// Recognises the start of an (uncompressed) idx file.
    fn recognise(head: &[u8]) -> Option<Magic> {
        match *head {
            [0, 0, element @ (0x08 | 0x09 | 0x0B..=0x0E), dimensions @ 1..=4, ..] => {
                Some(Magic { element, dimensions })
            }
            _ => None,
        }
    }

    /// True of a set of images: `[n, h, w]` or `[n, h, w, c]`.
    fn holds_images(self) -> bool {
        self.dimensions >= 3
    }
}

/// The contents of an idx file of bytes.
#[derive(Debug)]
struct Array {
    dims: Vec<usize>,
    elements: Pixels,
    gzip: bool,
}

/// Reads a set of images and its labels. `source` is what the user named.
fn read(source: &Path, images: &Path, labels: Option<&Path>) -> Result<Dataset> {
    let Array { dims, elements, gzip } = read_file(images)?;
    let (len, height, width) = (dims[0], dims[1], dims[2]);
    let channels = dims.get(3).copied().unwrap_or(1);
    if len * height * width * channels == 0 {
        return Err(Error::format(images, format!("holds no pixels: its dimensions are {dims:?}")));
    }
    let labels = labels.map(|path| read_labels(path, images, len)).transpose()?;
    let classes = labels.iter().flatten().max().map_or(0, |&last| last + 1);
    Ok(Dataset {
        name: display_name(source),
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
    let array = read_file(path)?;
    if array.dims[0] != len {
        let reason = format!("holds {} labels, but {} holds {len} images", array.dims[0], images.display());
        return Err(Error::format(path, reason));
    }
    Ok(array.elements.bytes().iter().copied().map(u32::from).collect())
}

/// Reads one file: mapped if it is plain, into memory if it is compressed.
fn read_file(path: &Path) -> Result<Array> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = [0; 2];
    let gzip = file.read_exact(&mut head).is_ok() && head == [0x1f, 0x8b];
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
    Ok(Array { dims, elements, gzip })
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
