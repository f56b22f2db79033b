//! Images that stay on the disk and are decoded when they are needed.
//!
//! An [`ImageStream`] reads image files in blocks, such as the groups of rows of a parquet file. Any sample can be asked for;
//! samples in the order of the files, or in that of [`Windows`](super::windows::Windows), are what it is fast at. What is
//! in memory is bounded: some blocks for those who ask, and for training, which is [`Ahead`], two windows of encoded
//! images and a few batches of decoded ones.

mod ahead;
mod files;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use rayon::prelude::*;

pub(super) use ahead::Ahead;
pub(super) use files::{Block, ImageFiles, Layout, Loose};

use super::members::Members;
use super::shape::Shape;
use crate::Result;

/// Encoded blocks in memory, by their numbers.
type Held = HashMap<usize, Arc<Block>>;

/// Files that are read together where samples are asked for one after the other.
const SCANNED_FILES: usize = 2000;

/// A source of images of one shape.
#[derive(Debug)]
pub(super) struct ImageStream {
    files: Arc<dyn ImageFiles>,
    shape: Shape,
    /// The first file of each block, and the number of files at the end; empty where every file is a block.
    first_files: Arc<[u32]>,
    /// The first sample of each block, and the number of samples at the end; empty where every file is a block.
    first_samples: Arc<[u32]>,
    chosen: Chosen,
    len: usize,
    /// Images within which the order of training is random.
    window: usize,
    /// The blocks that were asked for last.
    last: Mutex<Held>,
}

/// The files that are samples.
#[derive(Clone, Debug)]
enum Chosen {
    All,
    /// In this order; of files that can be read by themselves.
    Listed(Arc<[usize]>),
    /// In the order of the files.
    Members(Arc<Members>),
}

impl ImageStream {
    /// All images of `files`, brought to a shape.
    pub fn new(files: Arc<dyn ImageFiles>, shape: Shape, window: usize) -> ImageStream {
        let (len, first_files) = match files.layout() {
            Layout::Single(len) => (len, Arc::from([])),
            Layout::Blocks(sizes) => {
                let mut ends: Vec<u32> = sizes;
                let mut end = 0;
                ends.iter_mut().for_each(|size| end = std::mem::replace(size, end) + end);
                ends.push(end);
                (end as usize, ends.into())
            }
        };
        let first_samples = Arc::clone(&first_files);
        ImageStream {
            files,
            shape,
            first_files,
            first_samples,
            chosen: Chosen::All,
            len,
            window,
            last: Mutex::default(),
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Images within which the order of training is random.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The first sample of each block and the number of samples at the end, where files are read in blocks.
    pub fn blocks(&self) -> Option<Arc<[u32]>> {
        (!self.first_samples.is_empty()).then(|| Arc::clone(&self.first_samples))
    }

    /// Bytes of an image file on average, as far as they are known.
    pub fn mean_bytes(&self) -> Option<usize> {
        self.files.mean_bytes()
    }

    /// Some of the samples, in this order; of files in blocks the order must be that of the files.
    pub fn part(&self, samples: &[usize]) -> ImageStream {
        let files: Vec<usize> = samples.iter().map(|&sample| self.file_of(sample)).collect();
        let (mut first_samples, len) = (Arc::clone(&self.first_samples), samples.len());
        let chosen = if self.first_files.is_empty() {
            Chosen::Listed(files.into())
        } else {
            let all = self.first_files.last().map_or(0, |&n| n as usize);
            let members = Members::listed(all, &files);
            let before = |&first: &u32| members.count_in(0..first as usize) as u32;
            first_samples = self.first_files.iter().map(before).collect();
            Chosen::Members(Arc::new(members))
        };
        let (files, first_files) = (Arc::clone(&self.files), Arc::clone(&self.first_files));
        let (shape, window, last) = (self.shape, self.window, Mutex::default());
        ImageStream { files, shape, first_files, first_samples, chosen, len, window, last }
    }

    /// Decodes the samples at `indices` to `out`, `[n, h, w, c]`.
    ///
    /// # Errors
    /// Images that cannot be read or decoded.
    pub fn read(&self, indices: &[usize], out: &mut [u8]) -> Result<()> {
        let mut images: Vec<(usize, usize, &mut [u8])> = self.places(indices, out);
        images.sort_by_key(|&(block, file, _)| (block, file));
        if self.first_files.is_empty() {
            return self.decode(&Held::new(), images);
        }
        // Taken, not locked: while this waits for other threads, it may have to do another one's reading.
        let mut held = std::mem::take(&mut *self.last());
        while !images.is_empty() {
            let (blocks, count) = self.next_blocks(&images);
            held.retain(|block, _| blocks.contains(block));
            self.hold(&mut held, &blocks)?;
            self.decode(&held, images.drain(..count).collect())?;
        }
        *self.last() = held;
        Ok(())
    }

    fn last(&self) -> MutexGuard<'_, Held> {
        self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The first blocks that images sorted by blocks need, as many as are read together, and the number of these images.
    fn next_blocks(&self, images: &[(usize, usize, &mut [u8])]) -> (Vec<usize>, usize) {
        let (mut blocks, mut files) = (Vec::new(), 0);
        for (count, &(block, ..)) in images.iter().enumerate() {
            if blocks.last() != Some(&block) {
                if files >= SCANNED_FILES {
                    return (blocks, count);
                }
                files += (self.first_files[block + 1] - self.first_files[block]) as usize;
                blocks.push(block);
            }
        }
        (blocks, images.len())
    }

    /// The block and the file of each sample, and the place for its pixels.
    fn places<'a>(&self, indices: &[usize], out: &'a mut [u8]) -> Vec<(usize, usize, &'a mut [u8])> {
        let images = out.chunks_exact_mut(self.shape.bytes()).zip(indices);
        images
            .map(|(out, &sample)| {
                let file = self.file_of(sample);
                (self.block_of(file), file, out)
            })
            .collect()
    }

    /// Reads the blocks that are missing.
    fn hold(&self, held: &mut Held, blocks: &[usize]) -> Result<()> {
        let missing: Vec<usize> = blocks.iter().copied().filter(|block| !held.contains_key(block)).collect();
        let read = missing.par_iter().map(|&block| Ok((block, Arc::new(self.files.read(block)?))));
        held.extend(read.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    /// Decodes images whose blocks are held; files that can be read by themselves are read.
    fn decode(&self, held: &Held, images: Vec<(usize, usize, &mut [u8])>) -> Result<()> {
        images.into_par_iter().try_for_each(|(block, file, out)| {
            let bytes = match held.get(&block) {
                Some(held) => held.file(file - self.first_files[block] as usize).to_vec(),
                None => self.files.read(block)?.file(0).to_vec(),
            };
            self.shape.decode(bytes, out).map_err(|reason| self.files.error(file, reason))
        })
    }

    fn file_of(&self, sample: usize) -> usize {
        match &self.chosen {
            Chosen::All => sample,
            Chosen::Listed(files) => files[sample],
            Chosen::Members(members) => {
                let block = self.first_samples.partition_point(|&first| first as usize <= sample) - 1;
                members.nth(self.first_files[block] as usize, sample - self.first_samples[block] as usize)
            }
        }
    }

    fn block_of(&self, file: usize) -> usize {
        if self.first_files.is_empty() {
            return file;
        }
        self.first_files.partition_point(|&first| first as usize <= file) - 1
    }
}
