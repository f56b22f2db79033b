//! Files that are whole: readers, and whoever comes after a crash or a full disk, see a file as it was or complete.
//!
//! A file is written next to its place, flushed to the disk and renamed, and then the folder is flushed.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// End of the name of a file that is being written.
const PARTIAL: &str = ".partial";

/// Creates or replaces a file in one step with what `write` puts into it. Its mode is that of any new file.
///
/// # Errors
/// A place that cannot be written, such as a full disk; the file is as it was then.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let partial = partial(path);
    let written = File::create(&partial).and_then(|file| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        return Err(Error::io(path)(error));
    }
    sync_folder(parent(path))
}

/// Creates or replaces a file in one step with these bytes, without waiting for the disk: after a power cut it may be
/// empty. For what is soon written again.
///
/// # Errors
/// As for [`write_whole`].
pub fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial(path);
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        Error::io(path)(error)
    })
}

/// Creates or replaces a file in one step with these bytes.
///
/// # Errors
/// As for [`write_whole`].
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |out| out.write_all(bytes))
}

/// Checks that a file could be written, and leaves no trace: for outputs of long work.
///
/// # Errors
/// A folder that does not exist or cannot be written, or a path that is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::io(path)(ErrorKind::IsADirectory.into()));
    }
    let partial = partial(path);
    File::create(&partial).and_then(|_| fs::remove_file(&partial)).map_err(Error::io(path))
}

/// Removes from a folder what killed writers left half written.
///
/// # Errors
/// A folder that cannot be changed.
pub fn remove_partials(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.to_string_lossy().ends_with(PARTIAL) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Returns true for an error of a disk that is full, or of a user who may not have more of it.
pub fn is_full(error: &Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    matches!(error, Error::Io { source, .. } if kinds.contains(&source.kind()))
}

/// Name under which a file is written before it is complete.
fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{PARTIAL}"))
}

/// Folder of a file; that of a bare file name is the current one.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames in a folder durable, where the system can.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        replace_file(&path, b"old").unwrap();
        let full = |out: &mut BufWriter<File>| {
            out.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write_whole(&path, full).unwrap_err();
        assert!(is_full(&error));
        let message = error.to_string();
        assert!(message.contains("kept: ") && !message.contains(PARTIAL), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        replace_unsynced(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace_unsynced(&folder.path().join("no folder/file"), b"").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_whole_file_has_the_mode_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (plain, whole) = (folder.path().join("plain"), folder.path().join("whole"));
        fs::write(&plain, "").unwrap();
        replace_file(&whole, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&whole), mode(&plain));
        replace_unsynced(&whole, b"").unwrap();
        assert_eq!(mode(&whole), mode(&plain));
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        replace_file(&path, b"whole").unwrap();
        fs::write(partial(&path), "ha").unwrap();
        remove_partials(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(path.exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("new")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(check_writable(&folder.path().join("nofolder/new")).unwrap_err().to_string().contains("nofolder"));
        check_writable(folder.path()).unwrap_err();
        check_writable(Path::new("/proc/new")).unwrap_err();
    }

    #[test]
    fn a_path_that_names_no_file_is_an_error() {
        assert!(replace_file(Path::new("/"), b"").is_err());
    }
}
