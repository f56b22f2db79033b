//! Archives of files, zip and tar, read where they lie: nothing is unpacked to the disk.

mod bytes;
mod limit;
mod tar;
mod zip;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

pub(super) use self::bytes::Bytes;
pub(super) use self::limit::MOST_ENTRY;
pub(super) use self::tar::{first_members, is_tar};

use super::decode::Input;
use crate::{Error, Result};

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Zip,
    Tar,
    /// A tar archive in a gzip stream.
    TarGz,
}

impl Packing {
    /// Recognises an archive by its first bytes, already decompressed where it is a gzip stream.
    pub fn recognise(head: &[u8], is_gzip: bool) -> Option<Packing> {
        match head {
            bytes if is_tar(bytes) => Some(if is_gzip { Packing::TarGz } else { Packing::Tar }),
            // The second is the end of an archive without entries.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] if !is_gzip => Some(Packing::Zip),
            _ => None,
        }
    }

    /// The command that unpacks it.
    pub fn command(self) -> &'static str {
        match self {
            Packing::Zip => "unzip",
            Packing::Tar => "tar xf",
            Packing::TarGz => "tar xzf",
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Zip => "a zip archive",
            Packing::Tar => "a tar archive",
            Packing::TarGz => "a tar archive, gzip",
        })
    }
}

/// An archive whose entries can be read in any order, by any number of threads.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    packing: Packing,
    entries: Entries,
    /// The place of each file among the entries, by its path within the archive.
    files: BTreeMap<PathBuf, usize>,
    /// The paths of what lies in each folder; true of folders. The root is the empty path.
    folders: BTreeMap<PathBuf, BTreeSet<(PathBuf, bool)>>,
}

#[derive(Debug)]
enum Entries {
    Zip(zip::Entries),
    Tar(tar::Entries),
}

impl Archive {
    /// Reads the names of all entries.
    ///
    /// # Errors
    /// An archive that is damaged, encrypted, or packed in a way that is not read.
    pub fn open(path: &Path, packing: Packing) -> Result<Archive> {
        let wrong = |reason: String| Error::format(path, reason);
        let (entries, names) = match packing {
            Packing::Zip => {
                let (zip, names) = zip::open(path, Bytes::map(path)?).map_err(wrong)?;
                (Entries::Zip(zip), names)
            }
            Packing::Tar => {
                let (tar, names) = tar::map(&Bytes::map(path)?).map_err(wrong)?;
                (Entries::Tar(tar), names)
            }
            Packing::TarGz => {
                let (tar, names) = tar::inflate(path)?;
                (Entries::Tar(tar), names)
            }
        };
        let mut archive =
            Archive { path: path.into(), packing, entries, files: BTreeMap::new(), folders: BTreeMap::new() };
        archive.folders.insert(PathBuf::new(), BTreeSet::new());
        for (place, name) in names.into_iter().enumerate() {
            archive.insert(place, &name);
        }
        Ok(archive)
    }

    /// Adds an entry and the folders that lead to it. A name that ends in a slash is a folder; of two files with one name
    /// the later counts, as when an archive is unpacked.
    fn insert(&mut self, place: usize, name: &str) {
        // Windows' own packers write backslashes.
        let name = name.replace('\\', "/");
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.is_empty() || parts.contains(&"..") {
            return;
        }
        let mut folder = PathBuf::new();
        for (i, part) in parts.iter().enumerate() {
            let path = folder.join(part);
            let is_folder = i + 1 < parts.len() || name.ends_with('/');
            self.folders.entry(folder).or_default().insert((path.clone(), is_folder));
            if is_folder {
                self.folders.entry(path.clone()).or_default();
            } else {
                self.files.insert(path.clone(), place);
            }
            folder = path;
        }
    }

    /// The path of the archive itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the archive.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// All files by their paths within the archive, in the order in which they were packed.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<(&Path, usize)> = self.files.iter().map(|(path, &place)| (path.as_path(), place)).collect();
        files.sort_by_key(|&(_, place)| place);
        files.into_iter().map(|(path, _)| path).collect()
    }

    /// The paths of what lies in a folder; true of folders.
    pub fn list(&self, folder: &Path) -> impl Iterator<Item = (&Path, bool)> {
        self.folders.get(folder).into_iter().flatten().map(|(path, is_folder)| (path.as_path(), *is_folder))
    }

    /// The first bytes of a file, at most `limit`, and the length that is promised for it.
    ///
    /// # Errors
    /// The reason, in words: an entry that is damaged.
    pub fn head(&self, file: &Path, limit: u64) -> Result<(Vec<u8>, u64), String> {
        let place = self.place(file)?;
        match &self.entries {
            Entries::Zip(zip) => zip.head(place, limit),
            Entries::Tar(tar) => Ok(tar.head(place, limit)),
        }
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// The reason, in words: an entry that is damaged, or longer than [`MOST_ENTRY`] or than its header promises.
    pub fn read(&self, file: &Path) -> Result<Vec<u8>, String> {
        let place = self.place(file)?;
        match &self.entries {
            Entries::Zip(zip) => zip.read(place),
            Entries::Tar(tar) => tar.read(place),
        }
    }

    /// [`Archive::read`], to decode it.
    pub fn input(&self, file: &Path) -> Result<Input, String> {
        self.read(file).map(Input::of)
    }

    fn place(&self, file: &Path) -> Result<usize, String> {
        self.files.get(file).copied().ok_or_else(|| "no such entry".into())
    }
}
