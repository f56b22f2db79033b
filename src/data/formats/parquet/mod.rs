//! Parquet files as Hugging Face's `datasets` writes them: a column of encoded images, and one of labels.
//!
//! Of the format this reads what such files use: columns of bytes, texts, whole numbers and truths outside of lists, in all
//! encodings that they may have, compressed with snappy, zstd, gzip or LZ4. The crate `parquet` reads more, but takes a
//! minute to build and panics on damaged files; here every length is checked against what there is, and
//! `src/data/tests/mutations.rs` damages files.

mod bits;
mod columns;
mod footer;
mod labels;
mod pages;
mod rows;
mod thrift;
mod values;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::format::{Description, Format, Head, Holds, Listing};
use crate::data::{
    dataset::{Dataset, Samples, refuse_grey},
    decode::{self, Header, Input},
    names::{display_name, file_name, has_word},
    options::DataOptions,
    shape::Shape,
    stream::{ImageFiles, Layout},
};
use crate::{Error, Result};
use columns::Columns;
use footer::{Footer, MAGIC};
use labels::Labels;
use rows::{Rows, Shard};

/// Parquet files.
#[derive(Debug)]
pub(super) struct Parquet;

impl Format for Parquet {
    fn describe(&self) -> Description {
        Description {
            source: "DIR of parquet files",
            contents: "as Hugging Face's datasets writes them: image or img (PNG, JPEG, ...) and label; train-00000-of-...",
            file: "one parquet file of images",
            files: "parquet files of images",
        }
    }

    fn recognise(&self, head: &Head) -> Result<Option<Holds>> {
        Ok((head.bytes.starts_with(MAGIC) && !head.is_gzip).then_some(Holds::Samples))
    }

    fn meant(&self, path: &Path) -> Option<Holds> {
        path.extension().is_some_and(|extension| extension == "parquet").then_some(Holds::Samples)
    }

    fn names_labels(&self) -> bool {
        true
    }

    /// Hub sets may have both `test` and `validation`: then `test` is read.
    fn pair(&self, _folder: &Path, samples: Vec<PathBuf>, _labels: &[PathBuf]) -> Result<Listing> {
        let (tests, others): (Vec<_>, Vec<_>) = samples.into_iter().partition(|path| has_word(path, "test"));
        let mut listing = Listing::of(if tests.is_empty() { others.clone() } else { tests });
        if listing.samples != others && !others.is_empty() {
            let note =
                format!("left out: {} file(s) beside those of test ({}, ...)", others.len(), file_name(&others[0]));
            listing.notes.push(note);
        }
        Ok(listing)
    }

    fn read(&self, source: &Path, listing: Listing, options: &DataOptions) -> Result<Dataset> {
        if source.is_dir() {
            check_shards(source, &listing.samples)?;
        }
        let (mut rows, mut labels, mut labelled) = (Rows::default(), Labels::default(), None);
        for path in &listing.samples {
            let refuse = |reason: String| Error::format(path, reason);
            let footer = Footer::read(path).map_err(refuse)?;
            let columns = Columns::choose(&footer, options.labels.as_deref()).map_err(refuse)?;
            if *labelled.get_or_insert(columns.label.is_some()) != columns.label.is_some() {
                return Err(refuse("has labels where other files have none, or the other way round".into()));
            }
            labels.add(path, &footer, &columns).map_err(refuse)?;
            let first_row = rows.len();
            rows.push(shard(path, &footer, &columns, first_row));
        }
        if rows.len() == 0 || u32::try_from(rows.len()).is_err() {
            return Err(Error::format(source, format!("holds {} rows; 1 to {} are read", rows.len(), u32::MAX)));
        }
        let (len, files) = (rows.len(), Arc::new(rows));
        let shape = shape(source, &files, len, options)?;
        let (labels, class_names) = labels.finish().unzip();
        Ok(Dataset {
            name: display_name(source),
            format: "parquet".into(),
            len,
            height: shape.height,
            width: shape.width,
            channels: shape.channels,
            samples: Samples::on_disk(files, shape, options),
            labels,
            class_names: class_names.unwrap_or_default(),
            notes: listing.notes,
        })
    }
}

fn shard(path: &Path, footer: &Footer, columns: &Columns, first_row: usize) -> Shard {
    let groups = footer
        .groups
        .iter()
        .map(|group| (group.chunks[columns.image], columns.path.map(|path| group.chunks[path]), group.rows));
    Shard {
        path: Arc::new(path.to_owned()),
        image: footer.columns[columns.image].clone(),
        image_path: columns.path.map(|path| footer.columns[path].clone()),
        groups: groups.collect(),
        first_row,
    }
}

/// Refuses `train-00000-of-00005.parquet` where one of the five is missing.
fn check_shards(folder: &Path, files: &[PathBuf]) -> Result<()> {
    for path in files {
        let name = file_name(path);
        let Some((prefix, number, of)) = numbered(&name) else { continue };
        let is_there = |number: usize| {
            files.iter().any(|other| numbered(&file_name(other)).is_some_and(|it| it == (prefix, number, of)))
        };
        if let Some(missing) = (0..of).find(|&number| !is_there(number)).filter(|_| number < of) {
            let reason =
                format!("shard {missing} of {of} is missing beside {name}: download it, or give the path of one file");
            return Err(Error::format(folder, reason));
        }
    }
    Ok(())
}

/// The parts of a name such as `train-00000-of-00005.parquet`; newer ones have a fingerprint behind.
fn numbered(name: &str) -> Option<(&str, usize, usize)> {
    let (front, back) = name.split_once("-of-")?;
    let (prefix, number) = front.rsplit_once('-')?;
    let digits = back.len() - back.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    Some((prefix, number.parse().ok()?, back[..digits].parse().ok()?))
}

/// The shape of the images: where the options leave it open, the size of the first one, and grey where all are. Of sets that
/// stay on the disk, only the first block is looked at.
fn shape(source: &Path, files: &Rows, len: usize, options: &DataOptions) -> Result<Shape> {
    let first = headers(files, 0..1)?;
    let [height, width] = options.size.unwrap_or(first[0].upright());
    let shape = |channels: usize| Shape { height, width, channels, to_grey: options.to_grey };
    let is_grey = |headers: &[Header]| headers.iter().all(|header| header.grey);
    if options.channels == Some(1) && !options.to_grey && !is_grey(&first) {
        return Err(refuse_grey(&display_name(source)));
    }
    if let Some(channels) = options.channels {
        return Ok(shape(channels));
    }
    if !is_grey(&first) {
        return Ok(shape(3));
    }
    let in_memory = len.saturating_mul(shape(1).bytes()) <= options.limit_bytes();
    let Layout::Blocks(blocks) = files.layout() else { return Ok(shape(1)) };
    let others = if in_memory { 1..blocks.len() } else { 1..1 };
    let all_grey = others.into_par_iter().map(|block| Ok(is_grey(&headers(files, block..block + 1)?)));
    let all_grey = all_grey.collect::<Result<Vec<bool>>>()?.into_iter().all(|grey| grey);
    Ok(shape(if all_grey { 1 } else { 3 }))
}

/// The headers of the images of some blocks.
fn headers(files: &Rows, blocks: std::ops::Range<usize>) -> Result<Vec<Header>> {
    let Layout::Blocks(sizes) = files.layout() else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    let mut row: usize = sizes[..blocks.start].iter().map(|&size| size as usize).sum();
    for block in blocks {
        let encoded = files.read(block)?;
        for place in 0..sizes[block] as usize {
            let header = decode::header(&mut Input::of(encoded.file(place).to_vec()));
            headers.push(header.map_err(|reason| files.error(row, reason))?);
            row += 1;
        }
    }
    Ok(headers)
}
