//! The layout of EDM and StyleGAN: images in numbered folders that are no classes, and their labels in `dataset.json`.

use std::{
    collections::HashMap,
    io::Read,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use super::archive::MOST_ENTRY;
use super::entries::{Entries, walk};
use super::formats::{Classes, FORMATS, Format, Holds, LAST_CLASS, Listing, number};
use super::tree::Tree;
use crate::{Error, Result};

const LABELS: &str = "dataset.json";

/// The names of images and their classes; `None` where the images have none.
type Labels = Option<Vec<(String, i64)>>;

/// The file of labels: `{"labels": [["00000/img00000000.png", 6], ...]}`, or `null` for images without labels.
#[derive(Deserialize)]
struct LabelFile {
    /// `None` in a file without this key, which is of another program.
    #[serde(default, deserialize_with = "present")]
    labels: Option<Labels>,
}

fn present<'de, D: Deserializer<'de>>(labels: D) -> Result<Option<Labels>, D::Error> {
    Deserialize::deserialize(labels).map(Some)
}

/// Lists the images of a folder that has such a file, in the order of their names, as EDM does.
///
/// # Errors
/// Labels that are missing or no class numbers.
pub(super) fn list(tree: &Tree, folder: &Path, entries: &Entries) -> Result<Option<(&'static dyn Format, Listing)>> {
    let path = folder.join(LABELS);
    if !entries.files.iter().any(|(file, _)| *file == path) {
        return Ok(None);
    }
    let Some(labels) = read(tree, &path)? else { return Ok(None) };
    for (i, format) in FORMATS.into_iter().enumerate().filter(|(_, format)| format.has_class_folders()) {
        let mut files = Vec::new();
        let flow = walk(tree, folder, &mut Vec::new(), &mut |entries| {
            files.extend(entries.of(i, Holds::Samples));
            ControlFlow::Continue(())
        })?;
        debug_assert!(flow.is_continue());
        files.sort();
        if !files.is_empty() {
            let listing = label(tree, folder, &path, files, labels)?;
            return Ok(Some((format, Listing { tree: tree.clone(), ..listing })));
        }
    }
    Ok(None)
}

/// Reads the file of labels; nothing if it is another program's.
fn read(tree: &Tree, path: &Path) -> Result<Option<Labels>> {
    let input = tree.open(path).map_err(|reason| tree.error(path, reason))?;
    let mut text = Vec::new();
    input.take(MOST_ENTRY).read_to_end(&mut text).map_err(Error::io(path))?;
    match serde_json::from_slice::<LabelFile>(&text) {
        Ok(file) => Ok(file.labels),
        Err(e) => {
            let value = serde_json::from_slice::<serde_json::Value>(&text);
            if value.is_ok_and(|value| !value.get("labels").is_some_and(serde_json::Value::is_array)) {
                return Ok(None);
            }
            let wanted = "wanted {\"labels\": [[\"00000/img00000000.png\", 6], ...]} with class numbers, or null";
            Err(tree.error(path, format!("{wanted}: {e}")))
        }
    }
}

/// Gives each image its label.
fn label(
    tree: &Tree,
    folder: &Path,
    path: &Path,
    files: Vec<PathBuf>,
    labels: Option<Vec<(String, i64)>>,
) -> Result<Listing> {
    let Some(labels) = labels else { return Ok(Listing::of(files)) };
    let labels: HashMap<PathBuf, i64> =
        labels.into_iter().map(|(name, label)| (folder.join(name.replace('\\', "/")), label)).collect();
    let without: Vec<&PathBuf> = files.iter().filter(|file| !labels.contains_key(*file)).collect();
    if let [first, ..] = &without[..] {
        let name = first.strip_prefix(folder).unwrap_or(first).display();
        let reason = format!("has no label for {} of {} images, such as {name}", without.len(), files.len());
        return Err(tree.error(path, reason));
    }
    let class = |file: &PathBuf| match u32::try_from(labels[file]) {
        Ok(label) if label <= LAST_CLASS => Ok(label),
        _ => Err(tree.error(
            path,
            format!(
                "{} has label {}; classes are numbered 0 to {LAST_CLASS}",
                file.strip_prefix(folder).unwrap_or(file).display(),
                labels[file]
            ),
        )),
    };
    let (numbers, names) = number(files.iter().map(class).collect::<Result<_>>()?);
    let lost = labels.len() - files.len();
    let notes = (lost > 0).then(|| format!("{LABELS} names {lost} image(s) that are not there")).into_iter().collect();
    let classes = Some(Classes { origin: "labels of dataset.json", labels: numbers, names });
    Ok(Listing { classes, notes, ..Listing::of(files) })
}
