//! Finds the files of a data set: formats are recognised by content, the split by the names of files and folders.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::archive::{Archive, Packing};
use super::class_folders::{left_out, list_classes};
use super::dataset::Split;
use super::edm;
use super::entries::{Content, Entries, recognise, walk};
use super::formats::{FORMATS, Format, Holds, Listing};
use super::names::{file_name, split_of_file, split_of_folder};
use super::tree::Tree;
use crate::{Error, Result};

/// A format, and the files of a split in it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) format: &'static dyn Format,
    pub(super) listing: Listing,
}

impl Found {
    /// Adds what other programs left beside the folder in which the data were found.
    fn beside(mut self, folder: &Path, entries: &Entries) -> Found {
        self.listing.notes.splice(0..0, left_out(folder, &[], &entries.leftovers));
        self
    }
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
    let tree = Tree::default();
    if path.is_dir() { locate_in_folder(&tree, path, Some(split)) } else { locate_file(&tree, path, split) }
}

fn locate_file(tree: &Tree, path: &Path, split: Split) -> Result<Found> {
    match recognise(tree, path)? {
        Content::Data(format, Holds::Samples) => {
            let format = FORMATS[format];
            if split == Split::Test && !format.holds_both_splits(path)? {
                let test = test_beside(path).filter(|_| !format.has_class_folders());
                return locate_file(tree, &test.ok_or_else(|| Error::format(path, ONE_SPLIT))?, Split::Train);
            }
            let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(Found { format, listing: Listing { split, ..format.pair(beside, vec![path.to_owned()], &[])? } })
        }
        Content::Data(_, Holds::Labels) => {
            Err(Error::format(path, "holds labels; give the file of the images, or the folder of both"))
        }
        Content::Archive(packing) => locate_in_archive(path, packing, Some(split)),
        Content::Foreign(advice) => Err(foreign(path, advice)),
        Content::Pickle => Err(foreign_pickle(path)),
        Content::Empty => Err(empty(path)),
        Content::Other => Err(Error::format(path, format!("not recognised: none of {}", all_formats()))),
    }
}

/// The file of the test split that lies beside a file to train on: `emnist-letters-test-images-idx3-ubyte` of
/// `emnist-letters-train-images-idx3-ubyte`. So one of several sets in a folder can be named by its file.
fn test_beside(path: &Path) -> Option<PathBuf> {
    let name = file_name(path);
    let names = ["test", "t10k"].map(|word| path.with_file_name(name.replacen("train", word, 1)));
    names.into_iter().find(|test| split_of_file(path) == Some(Split::Train) && test != path && test.is_file())
}

/// Finds the files of a split inside an archive.
fn locate_in_archive(path: &Path, packing: Packing, split: Option<Split>) -> Result<Found> {
    locate_in_folder(&Tree::of(vec![Archive::open(path, packing)?]), path, split)
}

/// Finds the files of a split; `None` stands for all files, in a folder that is itself a split.
fn locate_in_folder(tree: &Tree, folder: &Path, split: Option<Split>) -> Result<Found> {
    let entries = Entries::read(tree, folder)?;
    if let Some(found) = locate_files(tree, folder, &entries, split)? {
        return Ok(found);
    }
    let mut notes = Vec::new();
    if let Some(split) = split {
        match split_folders(tree, &entries)? {
            Splits::Are => {
                let chosen = entries.folders.iter().find(|path| split_of_folder(path) == Some(split));
                let found = locate_in_folder(tree, chosen.ok_or_else(|| no_split(folder, split))?, None)?;
                return Ok(found.beside(folder, &entries));
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
        && !Entries::read(tree, inner)?.has_class_samples()
    {
        return Ok(locate_in_folder(tree, inner, split)?.beside(folder, &entries));
    }
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| format.has_class_folders()) {
        let mut listing = list_classes(tree, folder, &entries, i)?;
        if !listing.samples.is_empty() {
            if split == Some(Split::Test) {
                return Err(no_split(folder, Split::Test));
            }
            listing.notes.splice(0..0, notes);
            return Ok(Found { format, listing: Listing { tree: tree.clone(), ..listing } });
        }
    }
    match archives_of(folder, &entries, split)? {
        Some((archive, packing, split)) => locate_in_archive(archive, packing, split),
        None => Err(nothing_found(tree, folder, &entries)),
    }
}

/// Finds data that lie in a folder itself, as files of a format or with a list of labels.
fn locate_files(tree: &Tree, folder: &Path, entries: &Entries, split: Option<Split>) -> Result<Option<Found>> {
    let is_empty_data = |(path, content): &&(PathBuf, Content)| {
        matches!(content, Content::Empty) && FORMATS.iter().any(|format| format.meant(path).is_some())
    };
    if let Some((path, _)) = entries.files.iter().find(is_empty_data) {
        return Err(empty(path));
    }
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| !format.has_class_folders()) {
        if entries.files.iter().any(|(_, content)| matches!(content, Content::Data(its, Holds::Samples) if *its == i)) {
            let samples = match &entries.of(i, Holds::Samples)[..] {
                [one] if format.holds_both_splits(one)? => vec![one.clone()],
                files => of_split(folder, files.to_vec(), split)?,
            };
            let listing = format.pair(folder, samples, &entries.of(i, Holds::Labels))?;
            return Ok(Some(Found { format, listing: Listing { split: split.unwrap_or_default(), ..listing } }));
        }
    }
    if let Some((path, _)) = entries.files.iter().find(|(_, content)| matches!(content, Content::Pickle)) {
        return Err(foreign_pickle(path));
    }
    let Some((format, listing)) = edm::list(tree, folder, entries)? else { return Ok(None) };
    match split {
        Some(Split::Test) => Err(no_split(folder, Split::Test)),
        _ => Ok(Some(Found { format, listing })),
    }
}

/// The archive of a split in a folder without other data, and the split to look for inside it: none where the archive's own
/// name says which it is.
fn archives_of<'a>(
    folder: &Path,
    entries: &'a Entries,
    split: Option<Split>,
) -> Result<Option<(&'a Path, Packing, Option<Split>)>> {
    let archives = entries.files.iter().filter_map(|(path, content)| match content {
        Content::Archive(packing) => Some((path.as_path(), *packing)),
        _ => None,
    });
    let archives: Vec<(&Path, Packing)> = archives.collect();
    let named = archives.iter().any(|(path, _)| split_of_file(path).is_some());
    let of_split = |path: &Path| split.is_none() || !named || split_of_file(path) == split;
    let chosen: Vec<(&Path, Packing)> = archives.iter().copied().filter(|(path, _)| of_split(path)).collect();
    match (&chosen[..], split) {
        ([], Some(split)) if named => Err(no_split(folder, split)),
        ([], _) => Ok(None),
        (&[(path, packing)], _) => Ok(Some((path, packing, split.filter(|_| !named)))),
        (several, _) => {
            let names = several.iter().take(4).map(|(path, _)| file_name(path)).collect::<Vec<_>>().join(", ");
            let more = if several.len() > 4 { ", ..." } else { "" };
            Err(Error::format(folder, format!("holds several archives ({names}{more}): give the path of one")))
        }
    }
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
fn split_folders(tree: &Tree, entries: &Entries) -> Result<Splits> {
    let (named, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        entries.folders.iter().partition(|path| split_of_folder(path).is_some());
    let Some(first) = named.first() else { return Ok(Splits::None) };
    for other in others {
        if holds_class_samples(tree, other)? {
            return Ok(Splits::AreClasses(file_name(first)));
        }
    }
    Ok(Splits::Are)
}

/// True where samples that are sorted into class folders lie in a folder or below it.
fn holds_class_samples(tree: &Tree, folder: &Path) -> Result<bool> {
    let mut visit = |entries: &Entries| match entries.has_class_samples() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    Ok(walk(tree, folder, &mut Vec::new(), &mut visit)?.is_break())
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

/// Refuses a file that is known and not read; `{}` in the advice stands for its name.
fn foreign(path: &Path, advice: &str) -> Error {
    Error::format(path, advice.replace("{}", &file_name(path)))
}

fn empty(path: &Path) -> Error {
    Error::format(path, "the file is empty")
}

fn foreign_pickle(path: &Path) -> Error {
    Error::format(path, "a Python pickle that holds no batch of CIFAR-10 or CIFAR-100: of pickles only those are read")
}

fn no_split(folder: &Path, split: Split) -> Error {
    Error::format(folder, missing_split(split))
}

/// The files of every format, in words.
fn all_formats() -> String {
    FORMATS.map(|format| format.describe().files).join(", ")
}

fn nothing_found(tree: &Tree, folder: &Path, entries: &Entries) -> Error {
    if let Some(archive) = tree.archive(folder) {
        let (files, path) = (archive.files(), archive.path());
        let such = files.first().map_or_else(String::new, |file| format!(", such as {}", file.display()));
        let unpack = format!("unpack it ({} {}) and give the folder", archive.packing().command(), file_name(path));
        let count = files.len();
        return Error::format(
            path,
            format!("holds no images ({count} file(s){such}); if it holds other data, {unpack}"),
        );
    }
    let sets = entries.folders.iter().filter(|inner| locate_in_folder(tree, inner, Some(Split::Train)).is_ok());
    let sets: Vec<String> = sets.map(|inner| file_name(inner)).collect();
    if !sets.is_empty() {
        return Error::format(
            folder,
            format!("holds data sets in sub-folders ({}): give the path of one", sets.join(", ")),
        );
    }
    let known = entries.files.iter().find_map(|(path, content)| match content {
        Content::Foreign(advice) => Some((path, advice)),
        _ => None,
    });
    if let Some((path, advice)) = known {
        return foreign(path, advice);
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
