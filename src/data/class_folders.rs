//! Class folders: images sorted into sub-folders that are called like their classes.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::entries::{Entries, walk};
use super::formats::{Classes, Holds, Listing};
use super::names::{file_name, sort_classes};
use super::tree::Tree;
use crate::Result;

/// The samples of a format that lie in a folder, or in sub-folders that are classes.
pub(super) fn list_classes(tree: &Tree, folder: &Path, entries: &Entries, format: usize) -> Result<Listing> {
    let (loose, mut others) = entries.parted(format, Holds::Samples);
    let mut leftovers = entries.leftovers.clone();
    let mut folders = entries.folders.clone();
    sort_classes(&mut folders);
    let mut classes = Vec::new();
    for class in &folders {
        let mut files = Vec::new();
        let flow = walk(tree, class, &mut Vec::new(), &mut |entries| {
            let (samples, rest) = entries.parted(format, Holds::Samples);
            files.extend(samples);
            others.extend(rest);
            leftovers.extend_from_slice(&entries.leftovers);
            ControlFlow::Continue(())
        })?;
        debug_assert!(flow.is_continue());
        classes.push(files);
    }
    let notes = left_out(folder, &others, &leftovers);
    if classes.iter().all(Vec::is_empty) {
        return Ok(Listing { notes, ..Listing::of(loose) });
    }
    if let Some(loose) = loose.first() {
        let reason = format!("holds images both loose (such as {}) and in sub-folders", file_name(loose));
        return Err(tree.error(folder, format!("{reason}: put each into the sub-folder of its class")));
    }
    if let Some(empty) = classes.iter().position(Vec::is_empty) {
        let reason = "holds no images that can be read, but the folders beside it do: a class must not be empty";
        return Err(tree.error(&folders[empty], format!("{reason}; move it away if it is none")));
    }
    let names = folders.iter().map(|class| file_name(class)).collect();
    Ok(Listing { notes, ..in_turns(classes, names, "a sub-folder per class") })
}

/// The samples of some classes. They take turns, so that the first images of a data set are of all of them.
pub(super) fn in_turns(classes: Vec<Vec<PathBuf>>, names: Vec<String>, origin: &'static str) -> Listing {
    let ranked = (0..)
        .zip(classes)
        .flat_map(|(label, files): (u32, _)| (0..).zip(files).map(move |(rank, file)| (rank, label, file)));
    let mut ranked: Vec<(usize, u32, PathBuf)> = ranked.collect();
    ranked.sort_by_key(|&(rank, label, _)| (rank, label));
    let (labels, samples) = ranked.into_iter().map(|(_, label, file)| (label, file)).unzip();
    Listing { classes: Some(Classes { origin, labels, names }), ..Listing::of(samples) }
}

/// Names what is left out of a data set.
pub(super) fn left_out(folder: &Path, others: &[PathBuf], leftovers: &[PathBuf]) -> Vec<String> {
    let note = |paths: &[PathBuf], what: &str| {
        let shown = paths.iter().take(3).map(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string());
        let more = if paths.len() > 3 { ", ..." } else { "" };
        let names = shown.collect::<Vec<_>>().join(", ");
        (!paths.is_empty()).then(|| format!("left out: {} {what} ({names}{more})", paths.len()))
    };
    [note(others, "file(s) that are no images"), note(leftovers, "leftover(s) of other programs")]
        .into_iter()
        .flatten()
        .collect()
}
