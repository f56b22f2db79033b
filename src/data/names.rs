//! Meanings of the names of files and folders: the data set, the split, the order of classes, what other programs left.

use std::path::{Path, PathBuf};

use super::split::Split;

/// Folders and files that systems and file managers leave beside data: thumbnails, and the other half of Apple's files.
const LEFTOVERS: [&str; 4] = ["@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini"];

/// The name of a data set in one word: the last part of its path.
pub(super) fn display_name(source: &Path) -> String {
    let path = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// True of entries whose names begin with a dot.
pub(super) fn is_hidden(path: &Path) -> bool {
    file_name(path).starts_with('.')
}

/// True of what other programs leave beside data.
pub(super) fn is_leftover(path: &Path) -> bool {
    LEFTOVERS.contains(&file_name(path).as_str())
}

/// True of a file whose name holds this word.
pub(super) fn has_word(path: &Path, word: &str) -> bool {
    words(&file_name(path)).iter().any(|found| found == word)
}

/// The split in a file's name, which must be a word of its own: `latest` and `carnival` speak of none.
pub(super) fn split_of_file(path: &Path) -> Option<Split> {
    let words = words(&file_name(path));
    // QMNIST has test10k and test50k.
    let is_test = |word: &String| {
        split_of_word(word.trim_end_matches(|c: char| c.is_ascii_digit() || c == 'k')) == Some(Split::Test)
    };
    let is_train = |word: &String| split_of_word(word) == Some(Split::Train);
    if words.iter().any(|word| word == "t10k" || is_test(word)) {
        Some(Split::Test)
    } else {
        words.iter().any(is_train).then_some(Split::Train)
    }
}

/// The split that a folder may be, by its name.
pub(super) fn split_of_folder(path: &Path) -> Option<Split> {
    split_of_word(&file_name(path).to_lowercase())
}

fn split_of_word(word: &str) -> Option<Split> {
    match word {
        "train" | "training" => Some(Split::Train),
        "test" | "testing" | "val" | "valid" | "validation" => Some(Split::Test),
        _ => None,
    }
}

/// The words of a name in lower case: runs of letters and digits, cut where a small letter meets a capital.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last_is_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (last_is_small && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is a word").extend(c.to_lowercase());
        }
        last_is_small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Sorts class folders by their names, or by their numbers where all names are numbers.
pub(super) fn sort_classes(folders: &mut [PathBuf]) {
    let number = |path: &PathBuf| file_name(path).parse::<u64>().ok();
    if folders.iter().all(|path| number(path).is_some()) {
        folders.sort_by_key(|path| (number(path), file_name(path)));
    } else {
        folders.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_a_word_of_its_own() {
        let split = |name: &str| split_of_file(Path::new(name));
        for name in
            ["t10k-images-idx3-ubyte", "test_batch.bin", "qmnist-test10k-images", "MyTestImages.gz", "a.val.bin"]
        {
            assert_eq!(split(name), Some(Split::Test), "{name}");
        }
        for name in ["train-images-idx3-ubyte.gz", "emnist-letters-train-images-idx3-ubyte", "TrainImages"] {
            assert_eq!(split(name), Some(Split::Train), "{name}");
        }
        for name in
            ["latest.bin", "carnival-images-idx3-ubyte", "contest", "strain-images", "data_batch_1.bin", "attestation"]
        {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
