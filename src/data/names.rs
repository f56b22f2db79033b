//! Meanings of the names of files and folders: the data set, and the split.

use std::path::Path;

use super::dataset::Split;

/// The name of a data set in one word: the last part of its path.
pub(super) fn display_name(source: &Path) -> String {
    let path = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The split in a file's name.
pub(super) fn split_of_file(path: &Path) -> Option<Split> {
    let name = file_name(path).to_lowercase();
    if ["t10k", "test", "val"].iter().any(|word| name.contains(word)) {
        Some(Split::Test)
    } else {
        name.contains("train").then_some(Split::Train)
    }
}

/// The split that a folder is, by its name.
pub(super) fn split_of_folder(path: &Path) -> Option<Split> {
    match file_name(path).to_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "test" | "testing" | "val" | "valid" | "validation" => Some(Split::Test),
        _ => None,
    }
}
