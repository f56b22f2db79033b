//! Content of folders, for messages about what is missing there.

use crate::{Error, Result};
use std::fs;
use std::path::Path;

/// Number of file names that an error lists.
const LISTED: usize = 12;

/// The names in a folder, sorted.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        names.push(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The content of a folder, for an error about what is missing there.
pub fn inventory(folder: &Path) -> String {
    match names(folder) {
        Err(_) => "the folder cannot be listed".into(),
        Ok(names) if names.is_empty() => "the folder is empty".into(),
        Ok(names) => {
            let more = names.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("the folder holds {}{more}", names[..names.len().min(LISTED)].join(", "))
        }
    }
}
