//! The rows of parquet files as image files in blocks.

use std::{path::PathBuf, sync::Arc};

use super::footer::{Chunk, Column};
use super::pages::read_rows;
use super::thrift::Parsed;
use super::values::Value;
use crate::data::stream::{Block, ImageFiles, Layout};
use crate::{Error, Result};

/// Rows of the largest block. Groups of more are read in parts, since some writers make a single group of all rows.
const MOST_ROWS: u32 = 1000;

/// The images of some files.
#[derive(Debug, Default)]
pub(super) struct Rows {
    shards: Vec<Shard>,
    blocks: Vec<Place>,
    /// Bytes of all images as they lie in the files.
    bytes: u64,
    rows: usize,
}

/// A file.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: Arc<PathBuf>,
    pub image: Column,
    /// The column of paths beside the images.
    pub image_path: Option<Column>,
    /// The chunks of both, and the number of rows, of each group.
    pub groups: Vec<(Chunk, Option<Chunk>, u32)>,
    /// The number of rows in the files before.
    pub first_row: usize,
}

/// The place of a block.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: u32,
    group: u32,
    /// The first row of the block in its group, and the number of rows.
    first: u32,
    rows: u32,
}

impl Rows {
    pub fn push(&mut self, shard: Shard) {
        let at = self.shards.len() as u32;
        for (group, &(chunk, _, rows)) in (0..).zip(&shard.groups) {
            self.bytes += chunk.length;
            self.rows += rows as usize;
            // Parts of about one size.
            let parts = rows.div_ceil(MOST_ROWS);
            let cut = |part: u32| (u64::from(rows) * u64::from(part) / u64::from(parts)) as u32;
            let place = |part: u32| Place { shard: at, group, first: cut(part), rows: cut(part + 1) - cut(part) };
            self.blocks.extend((0..parts).map(place));
        }
        self.shards.push(shard);
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    fn read_block(&self, shard: &Shard, place: Place) -> Parsed<Block> {
        let (chunk, path_chunk, _) = &shard.groups[place.group as usize];
        let mut block = Block::default();
        let mut missing = None;
        read_rows(&shard.path, &shard.image, chunk, place.first..place.first + place.rows, &mut |row, value| {
            match value {
                Some(Value::Bytes(bytes)) => block.push(bytes),
                _ => missing = missing.or(Some(row)),
            }
            Ok(())
        })?;
        let Some(row) = missing else { return Ok(block) };
        let mut path = String::new();
        if let (Some(column), Some(chunk)) = (&shard.image_path, path_chunk) {
            read_rows(&shard.path, column, chunk, row..row + 1, &mut |_, value| {
                if let Some(Value::Bytes(bytes)) = value {
                    path = String::from_utf8_lossy(bytes).into_owned();
                }
                Ok(())
            })?;
        }
        let before: u64 = shard.groups[..place.group as usize].iter().map(|(_, _, rows)| u64::from(*rows)).sum();
        Err(without_bytes(before + u64::from(row), &path))
    }
}

/// The error of a row that holds no image.
fn without_bytes(row: u64, path: &str) -> String {
    if path.is_empty() {
        return format!("row {row} has no image: leave such rows out");
    }
    format!(
        "row {row} has no image, only its path {path}: embed the images before they are written, with \
         ds.with_format(\"arrow\").map(datasets.table.embed_table_storage, batched=True).to_parquet(FILE)"
    )
}

impl ImageFiles for Rows {
    fn layout(&self) -> Layout {
        Layout::Blocks(self.blocks.iter().map(|place| place.rows).collect())
    }

    fn read(&self, block: usize) -> Result<Block> {
        let place = self.blocks[block];
        let shard = &self.shards[place.shard as usize];
        self.read_block(shard, place).map_err(|reason| Error::format(&*shard.path, reason))
    }

    fn mean_bytes(&self) -> Option<usize> {
        Some((self.bytes / self.rows.max(1) as u64) as usize)
    }

    fn error(&self, row: usize, reason: String) -> Error {
        let shard = self.shards.iter().rfind(|shard| shard.first_row <= row).expect("the first shard begins at 0");
        Error::format(&*shard.path, format!("row {}: {reason}", row - shard.first_row))
    }
}
