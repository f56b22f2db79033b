//! Finds the files of a data set: formats are recognised by content, the split by the names of files and folders.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::dataset::Split;
use super::formats::{Classes, FORMATS, Format, Head, Holds, Listing};
use super::names::{file_name, is_hidden, is_leftover, sort_classes, split_of_file, split_of_folder};
use crate::{Error, Result};

/// A format, and the files of a split in it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) format: &'static dyn Format,
    pub(super) listing: Listing,
}

/// The content of one file.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Data of a format, by its place in the table.
    Data(usize, Holds),
    /// Packed data, with the command that unpacks it.
    Archive(&'static str),
    Pickle,
    Empty,
    Other,
}

/// The reason for refusing the test split of a file.
const ONE_SPLIT: &str = "a single file has no test split; give the folder of both splits";

/// True of the error of a data set that has no such split; it may have the other one.
pub fn lacks_split(error: &Error) -> bool {
    let missing = |reason: &str| reason == ONE_SPLIT || Split::ALL.map(missing_split).iter().any(|of| of == reason);
    matches!(error, Error::Format { reason, .. } if missing(reason))
}

fn missing_split(split: Split) -> String {
    format!("no {split} split found")
}

/// Finds the files of a split in a file or folder that exists.
pub(super) fn locate(path: &Path, split: Split) -> Result<Found> {
    if path.is_dir() { locate_in_folder(path, Some(split)) } else { locate_file(path, split) }
}

fn locate_file(path: &Path, split: Split) -> Result<Found> {
    let found = match recognise(path)? {
        Content::Data(format, Holds::Samples) => {
            let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Found { format: FORMATS[format], listing: FORMATS[format].pair(beside, vec![path.to_owned()], &[])? }
        }
        Content::Data(_, Holds::Labels) => {
            return Err(Error::format(path, "holds labels; give the file of the images, or the folder of both"));
        }
        Content::Archive(command) => return Err(unpack_first(path, command)),
        Content::Pickle => return Err(python_batches(path)),
        Content::Empty => return Err(empty(path)),
        Content::Other => return Err(Error::format(path, format!("not recognised: none of {}", all_formats()))),
    };
    match split {
        Split::Train => Ok(found),
        Split::Test => Err(Error::format(path, ONE_SPLIT)),
    }
}

/// The visible entries of a folder in the order of their names.
struct Entries {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Content)>,
    leftovers: Vec<PathBuf>,
}

impl Entries {
    fn read(folder: &Path) -> Result<Entries> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            paths.push(entry.map_err(Error::io(folder))?.path());
        }
        paths.retain(|path| !is_hidden(path));
        paths.sort();
        let (leftovers, paths): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_leftover(path));
        let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        let files = files.into_iter().map(|path| recognise(&path).map(|content| (path, content)));
        Ok(Entries { folders, files: files.collect::<Result<_>>()?, leftovers })
    }

    /// The files of a format, with those that were meant to be of it by their names.
    fn of(&self, format: usize, holds: Holds) -> Vec<PathBuf> {
        let (of, _) = self.parted(format, holds);
        of
    }

    /// The files of a format, and all others.
    fn parted(&self, format: usize, holds: Holds) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let wanted = |(path, content): &(PathBuf, Content)| match content {
            Content::Data(its, it) => (*its, *it) == (format, holds),
            Content::Other => FORMATS[format].meant(path) == Some(holds),
            _ => false,
        };
        let (of, others): (Vec<_>, Vec<_>) = self.files.iter().partition(|entry| wanted(entry));
        let paths = |entries: Vec<&(PathBuf, Content)>| entries.into_iter().map(|(path, _)| path.clone()).collect();
        (paths(of), paths(others))
    }

    /// True where samples lie that are sorted into class folders.
    fn has_class_samples(&self) -> bool {
        let sorted = |content: &Content| matches!(content, Content::Data(format, Holds::Samples) if FORMATS[*format].has_class_folders());
        self.files.iter().any(|(_, content)| sorted(content))
    }
}

/// Finds the files of a split; `None` stands for all files, in a folder that is itself a split.
fn locate_in_folder(folder: &Path, split: Option<Split>) -> Result<Found> {
    let entries = Entries::read(folder)?;
    let is_empty_data = |(path, content): &&(PathBuf, Content)| {
        matches!(content, Content::Empty) && FORMATS.iter().any(|format| format.meant(path).is_some())
    };
    if let Some((path, _)) = entries.files.iter().find(is_empty_data) {
        return Err(empty(path));
    }
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| !format.has_class_folders()) {
        if entries.files.iter().any(|(_, content)| matches!(content, Content::Data(its, Holds::Samples) if *its == i)) {
            let samples = of_split(folder, entries.of(i, Holds::Samples), split)?;
            return Ok(Found { format, listing: format.pair(folder, samples, &entries.of(i, Holds::Labels))? });
        }
    }
    if let Some((path, _)) = entries.files.iter().find(|(_, content)| matches!(content, Content::Pickle)) {
        return Err(python_batches(path));
    }
    let mut notes = Vec::new();
    if let Some(split) = split {
        match split_folders(&entries)? {
            Splits::Are => {
                let chosen = entries.folders.iter().find(|path| split_of_folder(path) == Some(split));
                return locate_in_folder(chosen.ok_or_else(|| no_split(folder, split))?, None);
            }
            Splits::AreClasses(name) => {
                notes.push(format!("{name} is a class, not a split: other folders beside it hold images too"))
            }
            Splits::None => {}
        }
    }
    // A folder around the data: MNIST/raw, cifar-10-batches-bin. But a folder of images is a class.
    if let [inner] = &entries.folders[..]
        && !entries.has_class_samples()
        && !Entries::read(inner)?.has_class_samples()
    {
        return locate_in_folder(inner, split);
    }
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| format.has_class_folders()) {
        let mut listing = list_classes(folder, &entries, i)?;
        if !listing.samples.is_empty() {
            if split == Some(Split::Test) {
                return Err(no_split(folder, Split::Test));
            }
            listing.notes.splice(0..0, notes);
            return Ok(Found { format, listing });
        }
    }
    Err(nothing_found(folder, &entries))
}

/// The meaning of sub-folders that are called like splits.
enum Splits {
    /// They are splits.
    Are,
    /// They are classes beside others; the name of one.
    AreClasses(String),
    /// No sub-folder is called so.
    None,
}

/// Decides whether sub-folders called `train`, `test` and the like are splits: they are, unless folders beside them
/// hold images.
fn split_folders(entries: &Entries) -> Result<Splits> {
    let (named, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        entries.folders.iter().partition(|path| split_of_folder(path).is_some());
    let Some(first) = named.first() else { return Ok(Splits::None) };
    for other in others {
        if holds_class_samples(other)? {
            return Ok(Splits::AreClasses(file_name(first)));
        }
    }
    Ok(Splits::Are)
}

/// True where samples that are sorted into class folders lie in a folder or below it.
fn holds_class_samples(folder: &Path) -> Result<bool> {
    let mut visit = |entries: &Entries| match entries.has_class_samples() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    Ok(walk(folder, &mut Vec::new(), &mut visit)?.is_break())
}

/// Visits a folder and the folders below it, in the order of their names, until a visit breaks off. `trail` holds the
/// folders that lead here: a link to one of them is not followed, or it would lead round in a circle.
fn walk(
    folder: &Path,
    trail: &mut Vec<PathBuf>,
    visit: &mut dyn FnMut(&Entries) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let real = folder.canonicalize().map_err(Error::io(folder))?;
    if trail.contains(&real) {
        return Ok(ControlFlow::Continue(()));
    }
    trail.push(real);
    let entries = Entries::read(folder)?;
    let mut flow = visit(&entries);
    for inner in &entries.folders {
        if flow.is_continue() {
            flow = walk(inner, trail, visit)?;
        }
    }
    trail.pop();
    Ok(flow)
}

/// The samples of a format that lie in a folder, or in sub-folders that are classes.
fn list_classes(folder: &Path, entries: &Entries, format: usize) -> Result<Listing> {
    let (loose, mut others) = entries.parted(format, Holds::Samples);
    let mut leftovers = entries.leftovers.clone();
    let mut folders = entries.folders.clone();
    sort_classes(&mut folders);
    let mut classes = Vec::new();
    for class in &folders {
        let mut files = Vec::new();
        let flow = walk(class, &mut Vec::new(), &mut |entries| {
            let (samples, rest) = entries.parted(format, Holds::Samples);
            files.extend(samples);
            others.extend(rest);
            leftovers.extend_from_slice(&entries.leftovers);
            ControlFlow::Continue(())
        })?;
        debug_assert!(flow.is_continue());
        classes.push(files);
    }
    let notes = left_out(folder, &others, &leftovers);
    if classes.iter().all(Vec::is_empty) {
        return Ok(Listing { notes, ..Listing::of(loose) });
    }
    if let Some(loose) = loose.first() {
        let reason = format!("holds images both loose (such as {}) and in sub-folders", file_name(loose));
        return Err(Error::format(folder, format!("{reason}: put each into the sub-folder of its class")));
    }
    if let Some(empty) = classes.iter().position(Vec::is_empty) {
        let reason = "holds no images that can be read, but the folders beside it do: a class must not be empty";
        return Err(Error::format(&folders[empty], format!("{reason}; move it away if it is none")));
    }
    // The classes take turns, so that the first images of a data set are of all of them.
    let ranked = (0..)
        .zip(classes)
        .flat_map(|(label, files): (u32, _)| (0..).zip(files).map(move |(rank, file)| (rank, label, file)));
    let mut ranked: Vec<(usize, u32, PathBuf)> = ranked.collect();
    ranked.sort_by_key(|&(rank, label, _)| (rank, label));
    let (labels, samples) = ranked.into_iter().map(|(_, label, file)| (label, file)).unzip();
    let names = folders.iter().map(|class| file_name(class)).collect();
    Ok(Listing { classes: Some(Classes { labels, names }), notes, ..Listing::of(samples) })
}

/// Names what is left out of a data set.
fn left_out(folder: &Path, others: &[PathBuf], leftovers: &[PathBuf]) -> Vec<String> {
    let note = |paths: &[PathBuf], what: &str| {
        let shown = paths.iter().take(3).map(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string());
        let more = if paths.len() > 3 { ", ..." } else { "" };
        let names = shown.collect::<Vec<_>>().join(", ");
        (!paths.is_empty()).then(|| format!("left out: {} {what} ({names}{more})", paths.len()))
    };
    [note(others, "file(s) that are no images"), note(leftovers, "leftover(s) of other programs")]
        .into_iter()
        .flatten()
        .collect()
}

/// The files of a split: those whose names say so, or, for training, those whose names say nothing.
fn of_split(folder: &Path, files: Vec<PathBuf>, split: Option<Split>) -> Result<Vec<PathBuf>> {
    let Some(split) = split else { return Ok(files) };
    let named =
        |wanted: Option<Split>| files.iter().filter(|path| split_of_file(path) == wanted).cloned().collect::<Vec<_>>();
    let mut chosen = named(Some(split));
    if chosen.is_empty() && split == Split::Train {
        chosen = named(None);
    }
    if chosen.is_empty() { Err(no_split(folder, split)) } else { Ok(chosen) }
}

/// Recognises the content of a file.
fn recognise(path: &Path) -> Result<Content> {
    let head = Head::read(path)?;
    for (i, format) in FORMATS.into_iter().enumerate() {
        if let Some(holds) = format.recognise(&head)? {
            return Ok(Content::Data(i, holds));
        }
    }
    Ok(match &head.bytes[..] {
        bytes if is_tar(bytes) => Content::Archive(if head.is_gzip { "tar xzf" } else { "tar xf" }),
        _ if head.is_gzip => Content::Other,
        [] => Content::Empty,
        bytes if bytes.starts_with(b"\xfd7zXZ\0") => Content::Archive("tar xJf"),
        bytes if bytes.starts_with(b"BZh") => Content::Archive("tar xjf"),
        bytes if bytes.starts_with(b"\x28\xb5\x2f\xfd") => Content::Archive("tar xf"),
        bytes if bytes.starts_with(b"PK\x03\x04") => Content::Archive("unzip"),
        [0x80, 2..=5, ..] if path.extension().is_none() => Content::Pickle,
        _ => Content::Other,
    })
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
    Error::format(path, "a Python pickle; of CIFAR the binary version (data_batch_1.bin, ...) is read")
}

fn no_split(folder: &Path, split: Split) -> Error {
    Error::format(folder, missing_split(split))
}

/// The files of every format, in words.
fn all_formats() -> String {
    FORMATS.map(|format| format.describe().files).join(", ")
}

fn nothing_found(folder: &Path, entries: &Entries) -> Error {
    let archive = entries.files.iter().find_map(|(path, content)| match content {
        Content::Archive(command) => Some((path, command)),
        _ => None,
    });
    if let Some((path, command)) = archive {
        return unpack_first(path, command);
    }
    if let Some((path, _)) = entries.files.iter().find(|(_, content)| matches!(content, Content::Data(..))) {
        return Error::format(folder, format!("holds labels ({}) but no images", file_name(path)));
    }
    if entries.files.is_empty() && entries.folders.is_empty() {
        return Error::format(folder, "the folder is empty");
    }
    let (files, folders) = (entries.files.len(), entries.folders.len());
    let inventory = format!("{files} other file(s), {folders} sub-folder(s)");
    Error::format(folder, format!("no {} found ({inventory})", all_formats()))
}
