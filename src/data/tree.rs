//! The files of a data set, on the disk or inside archives. A file inside an archive has the path of the archive before its
//! own, as if the archive were a folder.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::archive::Archive;
use super::decode::Input;
use super::head::{HEAD_BYTES, Head};
use crate::{Error, Result};

/// The disk, and archives that are read like folders.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// By their paths.
    archives: HashMap<PathBuf, Arc<Archive>>,
}

impl Tree {
    /// A tree that knows some archives.
    pub fn of(archives: Vec<Archive>) -> Tree {
        let by_path = archives.into_iter().map(|archive| (archive.path().to_owned(), Arc::new(archive)));
        Tree { archives: by_path.collect() }
    }

    /// The archive that a path leads into, and the path within it.
    fn inside<'a>(&self, path: &'a Path) -> Option<(&Archive, &'a Path)> {
        if self.archives.is_empty() {
            return None;
        }
        let archive = path.ancestors().find_map(|folder| self.archives.get(folder))?;
        Some((&**archive, path.strip_prefix(archive.path()).ok()?))
    }

    /// The archive that a path leads into.
    pub fn archive(&self, path: &Path) -> Option<&Archive> {
        self.inside(path).map(|(archive, _)| archive)
    }

    /// True of a path that leads into an archive, or to one.
    pub fn is_archived(&self, path: &Path) -> bool {
        self.inside(path).is_some()
    }

    /// The paths of what lies in a folder; true of folders.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
        if let Some((archive, inner)) = self.inside(folder) {
            return Ok(archive.list(inner).map(|(path, is_folder)| (archive.path().join(path), is_folder)).collect());
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let is_folder = path.is_dir();
            paths.push((path, is_folder));
        }
        Ok(paths)
    }

    /// The folder that a path leads to when all links are followed; nothing in an archive, where no links are.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn real_folder(&self, folder: &Path) -> Result<Option<PathBuf>> {
        match self.inside(folder) {
            Some(_) => Ok(None),
            None => folder.canonicalize().map(Some).map_err(Error::io(folder)),
        }
    }

    /// The beginning of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn head<'a>(&self, path: &'a Path) -> Result<Head<'a>> {
        let Some((archive, inner)) = self.inside(path) else { return Head::read(path) };
        let (bytes, length) = archive.head(inner, HEAD_BYTES).map_err(|reason| self.error(path, reason))?;
        Ok(Head { path, bytes, is_gzip: false, length })
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.inside(path) {
            Some((archive, inner)) => archive.read(inner).map_err(|reason| self.error(path, reason)),
            None => fs::read(path).map_err(Error::io(path)),
        }
    }

    /// Opens a file, to decode it.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn open(&self, path: &Path) -> Result<Input, String> {
        match self.inside(path) {
            Some((archive, inner)) => archive.input(inner),
            None => Input::open(path).map_err(|e| e.to_string()),
        }
    }

    /// The error of a file, which it names: `set.zip: train/3/a.png: ...` inside an archive.
    pub fn error(&self, path: &Path, reason: impl Into<String>) -> Error {
        let reason = reason.into();
        match self.inside(path) {
            Some((archive, inner)) if !inner.as_os_str().is_empty() => {
                Error::format(archive.path(), format!("{}: {reason}", inner.display()))
            }
            _ => Error::format(path, reason),
        }
    }
}
