//! The peculiarities of EMNIST: images stored column by column, letters numbered from 1, and a file that says which
//! character each label is.

use std::{fs, path::Path};

use crate::data::names::{file_name, has_word};

/// Recognises a file of EMNIST by its name; its content is that of any idx file.
pub(super) fn is_emnist(images: &Path) -> bool {
    has_word(images, "emnist")
}

/// Labels from 0 on and the characters that they stand for, or `None` where these are not known.
pub(super) fn name(images: &Path, labels: &[u32]) -> Option<(Vec<u32>, Vec<String>)> {
    let classes = if is_emnist(images) { mapping(images).or_else(|| letters(images))? } else { return None };
    let place = |label: &u32| classes.iter().position(|(of, _)| of == label).map(|place| place as u32);
    let labels = labels.iter().map(place).collect::<Option<Vec<u32>>>()?;
    Some((labels, classes.into_iter().map(|(_, name)| name).collect()))
}

/// Reads `emnist-balanced-mapping.txt` beside `emnist-balanced-train-images-idx3-ubyte`: a line for each label, with
/// the codes of its characters, the capital first.
fn mapping(images: &Path) -> Option<Vec<(u32, String)>> {
    let name = file_name(images);
    let set = &name[..name.find("-train").or_else(|| name.find("-test"))?];
    let text = fs::read_to_string(images.with_file_name(format!("{set}-mapping.txt"))).ok()?;
    let class = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (label, code) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((label, char::from_u32(code)?.to_string()))
    };
    text.lines().map(class).collect()
}

/// The letters, whose labels are 1 to 26.
fn letters(images: &Path) -> Option<Vec<(u32, String)>> {
    has_word(images, "letters").then(|| (1..).zip('A'..='Z').map(|(label, letter)| (label, letter.into())).collect())
}
