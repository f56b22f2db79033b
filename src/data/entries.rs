//! The contents of folders: formats are recognised by content.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::archive::Packing;
use super::formats::{FORMATS, Holds};
use super::names::{is_hidden, is_leftover};
use super::tree::Tree;
use crate::Result;

/// The content of one file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Data of a format, by its place in the table.
    Data(usize, Holds),
    /// Files in an archive that is read like a folder.
    Archive(Packing),
    /// Data that are known and not read, with what to do.
    Foreign(&'static str),
    Pickle,
    Empty,
    Other,
}

type Begins = fn(&[u8]) -> bool;

/// Kinds of files that are not read, by how they begin, and what to do with them.
const FOREIGN: [(Begins, &str); 9] = [
    (|head| head.starts_with(b"\xfd7zXZ\0"), "an archive: unpack it (tar xJf {}) and give the folder"),
    (|head| head.starts_with(b"BZh"), "an archive: unpack it (tar xjf {}) and give the folder"),
    (|head| head.starts_with(b"\x28\xb5\x2f\xfd"), "an archive: unpack it (tar xf {}) and give the folder"),
    (|head| head.starts_with(b"7z\xbc\xaf\x27\x1c"), "an archive: unpack it (7z x {}) and give the folder"),
    (|head| head.starts_with(b"Rar!\x1a\x07"), "an archive: unpack it (unrar x {}) and give the folder"),
    (|head| head.starts_with(b"MATLAB 7.3"), "a MATLAB file of version 7.3 (HDF5): save it anew with -v7"),
    (
        |head| head.starts_with(b"\x89HDF\r\n\x1a\n"),
        "an HDF5 file: save its arrays as .npz, numpy.savez(FILE, images=..., labels=...)",
    ),
    (
        |head| head.starts_with(b"\x93NUMPY"),
        "a single array: save it as .npz, numpy.savez(FILE, images=..., labels=...)",
    ),
    (|head| head.get(16..20) == Some(&[0xde, 0xc0, 0xef, 0xbe]), "an LMDB database: export its images to a folder"),
];

/// The visible entries of a folder in the order of their names.
pub(super) struct Entries {
    pub folders: Vec<PathBuf>,
    pub files: Vec<(PathBuf, Content)>,
    pub leftovers: Vec<PathBuf>,
}

impl Entries {
    /// Looks at all files of a folder.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(tree: &Tree, folder: &Path) -> Result<Entries> {
        let mut listed = tree.list(folder)?;
        listed.retain(|(path, _)| !is_hidden(path));
        listed.sort();
        let (leftovers, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(path, _)| is_leftover(path));
        let (folders, files): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, is_folder)| *is_folder);
        let paths = |listed: Vec<(PathBuf, bool)>| listed.into_iter().map(|(path, _)| path).collect();
        let files = files.into_iter().map(|(path, _)| recognise(tree, &path).map(|content| (path, content)));
        Ok(Entries { folders: paths(folders), files: files.collect::<Result<_>>()?, leftovers: paths(leftovers) })
    }

    /// The files of a format, with those that were meant to be of it by their names.
    pub fn of(&self, format: usize, holds: Holds) -> Vec<PathBuf> {
        let (of, _) = self.parted(format, holds);
        of
    }

    /// The files of a format, and all others.
    pub fn parted(&self, format: usize, holds: Holds) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let wanted = |(path, content): &(PathBuf, Content)| match content {
            Content::Data(its, it) => (*its, *it) == (format, holds),
            Content::Other | Content::Pickle => FORMATS[format].meant(path) == Some(holds),
            _ => false,
        };
        let (of, others): (Vec<_>, Vec<_>) = self.files.iter().partition(|entry| wanted(entry));
        let paths = |entries: Vec<&(PathBuf, Content)>| entries.into_iter().map(|(path, _)| path.clone()).collect();
        (paths(of), paths(others))
    }

    /// True where samples lie that are sorted into class folders.
    pub fn has_class_samples(&self) -> bool {
        let sorted = |content: &Content| matches!(content, Content::Data(format, Holds::Samples) if FORMATS[*format].has_class_folders());
        self.files.iter().any(|(_, content)| sorted(content))
    }
}

/// Visits a folder and the folders below it, in the order of their names, until a visit breaks off. `trail` holds the
/// folders that lead here: a link to one of them is not followed, or it would lead round in a circle.
pub(super) fn walk(
    tree: &Tree,
    folder: &Path,
    trail: &mut Vec<PathBuf>,
    visit: &mut dyn FnMut(&Entries) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let real = tree.real_folder(folder)?;
    if real.as_ref().is_some_and(|real| trail.contains(real)) {
        return Ok(ControlFlow::Continue(()));
    }
    let height = trail.len();
    trail.extend(real);
    let entries = Entries::read(tree, folder)?;
    let mut flow = visit(&entries);
    for inner in &entries.folders {
        if flow.is_continue() {
            flow = walk(tree, inner, trail, visit)?;
        }
    }
    trail.truncate(height);
    Ok(flow)
}

/// Recognises the content of a file. Inside an archive only what class folders hold is read.
pub(super) fn recognise(tree: &Tree, path: &Path) -> Result<Content> {
    let head = tree.head(path)?;
    let is_archived = tree.is_archived(path);
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| !is_archived || format.has_class_folders())
    {
        if let Some(holds) = format.recognise(&head)? {
            return Ok(Content::Data(i, holds));
        }
    }
    if let Some(packing) = Packing::recognise(&head.bytes, head.is_gzip) {
        return Ok(Content::Archive(packing));
    }
    if !head.is_gzip
        && let Some((_, advice)) = FOREIGN.iter().find(|(begins, _)| begins(&head.bytes))
    {
        return Ok(Content::Foreign(advice));
    }
    Ok(match &head.bytes[..] {
        [] if !head.is_gzip => Content::Empty,
        [0x80, 2..=5, ..] if !head.is_gzip && path.extension().is_none() => Content::Pickle,
        _ => Content::Other,
    })
}
