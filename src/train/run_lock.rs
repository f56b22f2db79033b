//! The lock of a run directory: one process at a time trains there.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process;

/// Name of the file that is locked.
pub const LOCK_FILE: &str = ".lock";

/// A run directory that belongs to this process. The system frees it when the process ends, however it ends; the file
/// stays, and says who had it last.
#[derive(Debug)]
pub struct RunLock {
    /// The open file, which holds the lock; `None` where the file system knows no locks.
    file: Option<File>,
}

impl RunLock {
    /// Takes the lock of a folder.
    ///
    /// # Errors
    /// Another process that has it, by name, or a folder that cannot be written.
    pub fn take(folder: &Path) -> Result<RunLock> {
        let path = folder.join(LOCK_FILE);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(Error::format(folder, format!("{holder} is training here; stop it first, or wait for it")));
            }
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                return Ok(RunLock { file: None });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        // The name is for the message alone: a full disk is no reason not to train.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "process {} on {}", process::id(), host()));
        Ok(RunLock { file: Some(file) })
    }

    /// Returns false where the file system knows no locks.
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

/// Name of this machine.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or("an unnamed host".into(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_freed_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let held = RunLock::take(folder.path()).unwrap();
        assert!(held.is_held());
        let line = RunLock::take(folder.path()).unwrap_err().to_string();
        assert!(
            line.contains(&format!("process {} on ", process::id())) && line.contains("is training here"),
            "{line}"
        );
        drop(held);
        RunLock::take(folder.path()).unwrap();
    }
}
