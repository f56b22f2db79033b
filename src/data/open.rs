//! Opens a data set by its name or path.

use std::path::Path;

use super::classes::ClassFilter;
use super::dataset::{Dataset, Split};
use super::formats::{PREFIX, by_prefix};
use super::glyphs;
use super::locate::locate;
use super::names::display_name;
use super::options::DataOptions;
use super::origins::{Origin, meant_by};
use super::points::{self, PointSet};
use crate::{Error, Result};

/// Opens a split of `source`: the name of a set that the program draws, or the path of a file or folder.
///
/// # Errors
/// One line that names the file and what is wrong with it, or the option that does not fit the data.
pub fn open(source: &str, split: Split, options: &DataOptions) -> Result<Dataset> {
    if let Some(set) = PointSet::from_name(source) {
        check_labels(source, &[], options)?;
        return points::dataset(set, split, options);
    }
    if options.size.is_some_and(|size| size.contains(&0)) {
        return Err(Error::Config("the image size must be at least 1 pixel".into()));
    }
    if let Some(channels) = options.channels
        && channels != 1
        && channels != 3
    {
        return Err(Error::Config(format!("images have 1 channel (grey) or 3 (RGB), not {channels}")));
    }
    let filter = options.classes.as_deref().map(ClassFilter::new).transpose()?;
    let path = Path::new(source);
    let dataset = if source == "glyphs" {
        check_labels(source, &[], options)?;
        let glyphs = glyphs::dataset(split, options.size.unwrap_or([glyphs::DEFAULT_SIZE; 2]));
        select(glyphs, filter.as_ref())?
    } else if path.exists() {
        open_path(path, split, options, filter.as_ref())?
    } else {
        return Err(missing(source));
    };
    dataset.settle(options)?.resize(options.size)?.with_channels(options.channels, options.to_grey)
}

/// The error of a source that is not there, with what to do about it.
fn missing(source: &str) -> Error {
    let drawn = PointSet::ALL.map(PointSet::name).join(", ");
    let known = meant_by(source)
        .map_or(String::new(), |Origin { name, files, address, .. }| format!(" ({name}: {files} from {address})"));
    Error::Config(format!(
        "no data set \"{source}\": it is neither glyphs, {drawn} nor a file or folder here; give the folder that holds it \
         with --data DIR{known}"
    ))
}

/// Opens a file or folder. Where every file has a class, only those of the chosen classes are read.
fn open_path(path: &Path, split: Split, options: &DataOptions, filter: Option<&ClassFilter>) -> Result<Dataset> {
    let mut found = locate(path, split)?;
    if !found.format.names_labels() {
        check_labels(&display_name(path), &found.format.label_kinds(), options)?;
    }
    if options.labels.as_deref() == Some(PREFIX) {
        found.listing = by_prefix(found.listing)?;
    }
    match (found.listing.classes.is_some(), filter) {
        (true, Some(filter)) => found.format.read(path, found.listing.select(&display_name(path), filter)?, options),
        _ => select(found.format.read(path, found.listing, options)?, filter),
    }
}

/// Refuses a kind of labels that a data set does not have.
fn check_labels(name: &str, kinds: &[&str], options: &DataOptions) -> Result<()> {
    let Some(asked) = options.labels.as_deref().filter(|asked| !kinds.contains(asked)) else { return Ok(()) };
    let has = if kinds.is_empty() { "one kind of labels at most".into() } else { kinds.join(" and ") };
    Err(Error::Config(format!("{name} has no labels called \"{asked}\": it has {has}")))
}

fn select(dataset: Dataset, filter: Option<&ClassFilter>) -> Result<Dataset> {
    match filter {
        Some(filter) => dataset.select(filter),
        None => Ok(dataset),
    }
}
