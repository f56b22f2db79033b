//! CIFAR-10's binary batches: records of a label byte and a 32x32 image, stored as a red, a green and a blue plane.

use std::{fs, path::Path, path::PathBuf};

use rayon::prelude::*;

use super::dataset::{Dataset, Samples};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// Bytes of a record.
pub(super) const RECORD: usize = 1 + 3 * PLANE;
const CLASSES: u8 = 10;

/// Recognises a batch: every record begins with a label. A file cut short is still recognised, so that reading it can
/// say so, but a single record must be complete to be believed.
pub(super) fn recognise(bytes: &[u8]) -> bool {
    (bytes.len() == RECORD || bytes.len() > 2 * RECORD) && bytes.iter().step_by(RECORD).all(|&label| label < CLASSES)
}

/// Reads batches one after the other. `source` is what the user named.
pub(super) fn read(source: &Path, batches: &[PathBuf]) -> Result<Dataset> {
    let mut records = Vec::new();
    for path in batches {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            let reason =
                format!("truncated: {} bytes are not a whole number of {RECORD}-byte CIFAR-10 records", bytes.len());
            return Err(Error::format(path, reason));
        }
        if let Some(record) = bytes.chunks_exact(RECORD).position(|record| record[0] >= CLASSES) {
            let label = bytes[record * RECORD];
            return Err(Error::format(path, format!("record {record} has label {label}; CIFAR-10 has 0 to 9")));
        }
        records.extend(bytes);
    }
    let pixels = records.par_chunks_exact(RECORD).flat_map_iter(|record| {
        let planes = &record[1..];
        (0..PLANE).flat_map(move |i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]])
    });
    Ok(Dataset {
        name: super::locate::display_name(source),
        format: "CIFAR-10 binary".into(),
        len: records.len() / RECORD,
        height: SIDE,
        width: SIDE,
        channels: 3,
        samples: Samples::in_memory(pixels.collect()),
        labels: Some(records.iter().step_by(RECORD).map(|&label| u32::from(label)).collect()),
        class_names: class_names(&batches[0]),
    })
}

/// The names in `batches.meta.txt` beside the batches, or else the numbers.
fn class_names(batch: &Path) -> Vec<String> {
    let text = fs::read_to_string(batch.with_file_name("batches.meta.txt")).unwrap_or_default();
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if names.len() == usize::from(CLASSES) { names } else { (0..CLASSES).map(|class| class.to_string()).collect() }
}
