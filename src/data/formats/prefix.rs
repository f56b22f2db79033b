//! Classes by the names of files, as improved-diffusion and guided-diffusion take them with `--class_cond`: the text before
//! the first underscore, `cat_0001.png`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::format::{Classes, Listing};
use crate::Result;
use crate::data::names::file_name;

/// The kind of labels that asks for them.
pub(in crate::data) const PREFIX: &str = "prefix";

/// The class of a file by its name.
fn prefix(path: &Path) -> Option<String> {
    file_name(path).split_once('_').map(|(class, _)| class.to_owned()).filter(|class| !class.is_empty())
}

/// Gives every file of a listing the class in its name, whatever folder it lies in. The classes are sorted as texts: `10`
/// comes before `2`, as in those programs.
///
/// # Errors
/// A file whose name has no class.
pub(in crate::data) fn by_prefix(listing: Listing) -> Result<Listing> {
    let class = |path: &PathBuf| {
        let reason = "its name does not begin with a class and an underscore, as data.labels = \"prefix\" wants it";
        prefix(path).ok_or_else(|| listing.tree.error(path, reason))
    };
    let classes = listing.samples.iter().map(class).collect::<Result<Vec<String>>>()?;
    let mut places: BTreeMap<&str, u32> = classes.iter().map(|class| (class.as_str(), 0)).collect();
    places.values_mut().zip(0..).for_each(|(place, number)| *place = number);
    let labels = classes.iter().map(|class| places[class.as_str()]).collect();
    let names = places.into_keys().map(String::from).collect();
    Ok(Listing { classes: Some(Classes { origin: "classes by the names of files", labels, names }), ..listing })
}

/// A remark on files without labels whose names look like classes: all begin so, with two classes at least and more images
/// than classes.
pub(super) fn prefixes_note(files: &[PathBuf]) -> Option<String> {
    let mut counts = BTreeMap::new();
    for file in files {
        *counts.entry(prefix(file)?).or_insert(0usize) += 1;
    }
    let classes = counts.len();
    if classes < 2 || 2 * classes > files.len() {
        return None;
    }
    let shown = counts.keys().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if classes > 3 { ", ..." } else { "" };
    let words = format!("the names begin with {classes} words ({shown}{more})");
    Some(format!("{words}: if these are classes, data.labels = \"prefix\" (--labels prefix) reads them"))
}
