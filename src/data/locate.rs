//! Finds out what a path holds: formats are recognised by content, the split by the names of files and folders.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{cifar, dataset::Split, folder::Listing, idx};
use crate::{Error, Result};

/// The files that make up a data set.
#[derive(Debug)]
pub(super) enum Found {
    Idx { images: PathBuf, labels: Option<PathBuf> },
    Cifar { batches: Vec<PathBuf> },
    Images(Listing),
}

/// What one file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Idx(idx::Magic),
    Cifar,
    Image,
    /// Packed data, with the command that unpacks it.
    Archive(&'static str),
    Pickle,
    Empty,
    Other,
}

/// What the user named, in one word: the last part of the path.
pub(super) fn display_name(source: &Path) -> String {
    let path = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Finds the files of a split in a file or folder that exists.
pub(super) fn locate(path: &Path, split: Split) -> Result<Found> {
    if path.is_dir() { locate_in_folder(path, Some(split)) } else { locate_file(path, split) }
}

fn locate_file(path: &Path, split: Split) -> Result<Found> {
    let found = match recognise(path)? {
        Content::Idx(magic) if magic.holds_images() => {
            let labels = labels_name(path).map(|name| path.with_file_name(name)).filter(|labels| labels.exists());
            Found::Idx { images: path.to_owned(), labels }
        }
        Content::Idx(_) => {
            return Err(Error::format(path, "holds labels; give the file of the images, or the folder of both"));
        }
        Content::Cifar => Found::Cifar { batches: vec![path.to_owned()] },
        Content::Image => {
            Found::Images(Listing { files: vec![path.to_owned()], labels: None, class_names: Vec::new() })
        }
        Content::Archive(command) => return Err(unpack_first(path, command)),
        Content::Pickle => return Err(python_batches(path)),
        Content::Empty => return Err(empty(path)),
        Content::Other => {
            return Err(Error::format(
                path,
                "not recognised: neither idx, nor CIFAR-10 binary, nor a PNG or JPEG image",
            ));
        }
    };
    match split {
        Split::Train => Ok(found),
        Split::Test => Err(Error::format(path, "a single file has no test split; give the folder of both splits")),
    }
}

/// The visible entries of a folder in the order of their names.
struct Entries {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Content)>,
}

impl Entries {
    fn read(folder: &Path) -> Result<Entries> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            paths.push(entry.map_err(Error::io(folder))?.path());
        }
        paths.retain(|path| !file_name(path).starts_with('.'));
        paths.sort();
        let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        let files = files.into_iter().map(|path| recognise(&path).map(|content| (path, content)));
        Ok(Entries { folders, files: files.collect::<Result<_>>()? })
    }

    fn with(&self, wanted: impl Fn(Content) -> bool) -> Vec<PathBuf> {
        self.files.iter().filter(|(_, content)| wanted(*content)).map(|(path, _)| path.clone()).collect()
    }
}

/// Finds the files of a split; `None` stands for all files, in a folder that is itself a split.
fn locate_in_folder(folder: &Path, split: Option<Split>) -> Result<Found> {
    let entries = Entries::read(folder)?;
    let is_empty_data = |(path, content): &&(PathBuf, Content)| *content == Content::Empty && is_named_data(path);
    if let Some((path, _)) = entries.files.iter().find(is_empty_data) {
        return Err(empty(path));
    }
    let image_sets = entries.with(|content| matches!(content, Content::Idx(magic) if magic.holds_images()));
    if !image_sets.is_empty() {
        let label_sets = entries.with(|content| matches!(content, Content::Idx(magic) if !magic.holds_images()));
        return locate_idx(folder, image_sets, &label_sets, split);
    }
    if entries.files.iter().any(|(_, content)| *content == Content::Cifar) {
        // A damaged batch is not recognised by its content: its name still says that it was meant to be one.
        let named_batch = |path: &Path| path.extension().is_some_and(|extension| extension == "bin");
        let batches =
            entries.files.into_iter().filter(|(path, content)| *content == Content::Cifar || named_batch(path));
        return Ok(Found::Cifar { batches: of_split(folder, batches.map(|(path, _)| path).collect(), split)? });
    }
    if let Some((path, _)) = entries.files.iter().find(|(_, content)| *content == Content::Pickle) {
        return Err(python_batches(path));
    }
    if let Some(split) = split
        && entries.folders.iter().any(|path| split_folder(path).is_some())
    {
        let chosen = entries.folders.iter().find(|path| split_folder(path) == Some(split));
        return locate_in_folder(chosen.ok_or_else(|| no_split(folder, split))?, None);
    }
    // A folder around the data: MNIST/raw, cifar-10-batches-bin. But a folder of images is a class.
    if let [inner] = &entries.folders[..]
        && !entries.files.iter().any(|(_, content)| *content == Content::Image)
        && !Entries::read(inner)?.files.iter().any(|(_, content)| *content == Content::Image)
    {
        return locate_in_folder(inner, split);
    }
    locate_images(folder, &entries, split)
}

fn locate_images(folder: &Path, entries: &Entries, split: Option<Split>) -> Result<Found> {
    let loose = entries.with(|content| content == Content::Image);
    let mut listing = Listing { files: Vec::new(), labels: None, class_names: Vec::new() };
    let mut of_classes = Vec::new();
    for class in &entries.folders {
        let files = images_below(class)?;
        if !files.is_empty() {
            let label = listing.class_names.len() as u32;
            listing.class_names.push(file_name(class));
            of_classes.extend(files.into_iter().enumerate().map(|(rank, file)| (rank, label, file)));
        }
    }
    // The classes take turns, so that the first images of a data set are of all of them.
    of_classes.sort_by_key(|&(rank, label, _)| (rank, label));
    let (labels, files): (Vec<u32>, Vec<PathBuf>) =
        of_classes.into_iter().map(|(_, label, file)| (label, file)).unzip();
    listing.files = files;
    match (loose.is_empty(), labels.is_empty()) {
        (false, false) => {
            let reason = format!("holds images both loose (such as {}) and in sub-folders", file_name(&loose[0]));
            return Err(Error::format(folder, format!("{reason}: put each into the sub-folder of its class")));
        }
        (false, true) => listing.files = loose,
        (true, false) => listing.labels = Some(labels),
        (true, true) => return Err(nothing_found(folder, entries)),
    }
    match split {
        Some(Split::Test) => Err(no_split(folder, Split::Test)),
        _ => Ok(Found::Images(listing)),
    }
}

/// All images in a folder and the folders in it.
fn images_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = Entries::read(folder)?;
    let mut files = entries.with(|content| content == Content::Image);
    for inner in &entries.folders {
        files.extend(images_below(inner)?);
    }
    Ok(files)
}

fn locate_idx(folder: &Path, images: Vec<PathBuf>, labels: &[PathBuf], split: Option<Split>) -> Result<Found> {
    let mut images = of_split(folder, images, split)?;
    // A plain file beside its compressed original is the same data: the plain one needs no memory.
    let plain: Vec<PathBuf> = images.iter().filter(|path| !is_named_gzip(path)).cloned().collect();
    images.retain(|path| !(is_named_gzip(path) && plain.contains(&path.with_extension(""))));
    let [images] = &images[..] else {
        let names = images.iter().map(|path| file_name(path)).collect::<Vec<_>>().join(", ");
        return Err(Error::format(folder, format!("holds several sets of images ({names}): give the path of one")));
    };
    let stem = |path: &Path| file_name(path).trim_end_matches(".gz").to_owned();
    let partner = labels_name(images).map(|name| name.trim_end_matches(".gz").to_owned());
    let by_name = labels.iter().find(|path| Some(stem(path)) == partner);
    let same_split: Vec<&PathBuf> = labels.iter().filter(|path| split_of(path) == split_of(images)).collect();
    let only_one = || if let [one] = same_split[..] { Some(one) } else { None };
    Ok(Found::Idx { images: images.clone(), labels: by_name.or_else(only_one).cloned() })
}

/// The files of a split: those whose names say so, or, for training, those whose names say nothing.
fn of_split(folder: &Path, files: Vec<PathBuf>, split: Option<Split>) -> Result<Vec<PathBuf>> {
    let Some(split) = split else { return Ok(files) };
    let named =
        |wanted: Option<Split>| files.iter().filter(|path| split_of(path) == wanted).cloned().collect::<Vec<_>>();
    let mut chosen = named(Some(split));
    if chosen.is_empty() && split == Split::Train {
        chosen = named(None);
    }
    if chosen.is_empty() { Err(no_split(folder, split)) } else { Ok(chosen) }
}

/// The split that a file's name speaks of.
fn split_of(path: &Path) -> Option<Split> {
    let name = file_name(path).to_lowercase();
    if ["t10k", "test", "val"].iter().any(|word| name.contains(word)) {
        Some(Split::Test)
    } else {
        name.contains("train").then_some(Split::Train)
    }
}

/// The split that a folder is, by its name.
fn split_folder(path: &Path) -> Option<Split> {
    match file_name(path).to_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "test" | "testing" | "val" | "valid" | "validation" => Some(Split::Test),
        _ => None,
    }
}

/// `train-images-idx3-ubyte` -> `train-labels-idx1-ubyte`.
fn labels_name(images: &Path) -> Option<String> {
    let name = file_name(images);
    name.contains("images").then(|| name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1"))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a file's name says that it was meant to hold data of MNIST or CIFAR-10.
fn is_named_data(path: &Path) -> bool {
    ["images", "labels", "idx", "ubyte", "batch"].iter().any(|word| file_name(path).contains(word))
}

fn is_named_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Looks into a file. Only images are also believed by their extension, so that a damaged one is reported, not skipped.
fn recognise(path: &Path) -> Result<Content> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head).map_err(Error::io(path))?;
    if idx::is_gzip(&head) {
        return recognise_gzip(path);
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let content = match &head[..] {
        head if head.starts_with(b"\x89PNG\r\n\x1a\n") || head.starts_with(&[0xff, 0xd8, 0xff]) => Content::Image,
        _ if ["png", "jpg", "jpeg"].contains(&extension.as_str()) => Content::Image,
        [] => Content::Empty,
        head if head.starts_with(b"\xfd7zXZ\0") => Content::Archive("tar xJf"),
        head if head.starts_with(b"BZh") => Content::Archive("tar xjf"),
        head if head.starts_with(b"\x28\xb5\x2f\xfd") => Content::Archive("tar xf"),
        head if head.starts_with(b"PK\x03\x04") => Content::Archive("unzip"),
        head if is_tar(head) => Content::Archive("tar xf"),
        [0x80, 2..=5, ..] if extension.is_empty() => Content::Pickle,
        head => match idx::Magic::recognise(head) {
            Some(magic) => Content::Idx(magic),
            None if is_cifar(path, head, file)? => Content::Cifar,
            None => Content::Other,
        },
    };
    Ok(content)
}

fn recognise_gzip(path: &Path) -> Result<Content> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    MultiGzDecoder::new(file).take(512).read_to_end(&mut head).map_err(|e| idx::gzip_error(path, e))?;
    Ok(match idx::Magic::recognise(&head) {
        Some(magic) => Content::Idx(magic),
        None if is_tar(&head) => Content::Archive("tar xzf"),
        None => Content::Other,
    })
}

/// Whether the file is a CIFAR-10 batch. Only a file that begins with a label and is large enough is read to its end.
fn is_cifar(path: &Path, head: &[u8], mut rest: File) -> Result<bool> {
    let length = rest.metadata().map_err(Error::io(path))?.len() as usize;
    if length < cifar::RECORD || head[0] > 9 {
        return Ok(false);
    }
    let mut bytes = head.to_vec();
    rest.read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(cifar::recognise(&bytes))
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

fn unpack_first(path: &Path, command: &str) -> Error {
    Error::format(path, format!("an archive: unpack it ({command} {}) and give the folder", file_name(path)))
}

fn empty(path: &Path) -> Error {
    Error::format(path, "the file is empty")
}

fn python_batches(path: &Path) -> Error {
    Error::format(path, "a Python pickle; of CIFAR-10 the binary version (data_batch_1.bin, ...) is read")
}

fn no_split(folder: &Path, split: Split) -> Error {
    Error::format(folder, format!("no {split} split found"))
}

fn nothing_found(folder: &Path, entries: &Entries) -> Error {
    let archive = entries.files.iter().find_map(|(path, content)| match content {
        Content::Archive(command) => Some((path, command)),
        _ => None,
    });
    if let Some((path, command)) = archive {
        return unpack_first(path, command);
    }
    if let Some((path, _)) = entries.files.iter().find(|(_, content)| matches!(content, Content::Idx(_))) {
        return Error::format(folder, format!("holds labels ({}) but no images", file_name(path)));
    }
    if entries.files.is_empty() && entries.folders.is_empty() {
        return Error::format(folder, "the folder is empty");
    }
    let (files, folders) = (entries.files.len(), entries.folders.len());
    let inventory = format!("{files} other file(s), {folders} sub-folder(s)");
    Error::format(folder, format!("no idx files, CIFAR-10 batches, PNG or JPEG images found ({inventory})"))
}
