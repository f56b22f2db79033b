//! Batches decoded before they are asked for, by a thread of their own.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::{Held, ImageStream};
use crate::Result;
use crate::data::loader::{Batch, Loader};

/// Images that are decoded together, and twice as many may wait: enough for many cores, or one batch if that is larger.
const TOGETHER_IMAGES: usize = 256;

/// The composition of a batch, and its pixels `[n, h, w, c]`.
pub(in crate::data) type Decoded = (Batch, Vec<u8>);

/// A thread that decodes the batches of one step after the other.
#[derive(Debug)]
pub(in crate::data) struct Ahead {
    /// The step whose batch comes next.
    next: u64,
    decoded: Option<Receiver<Result<Decoded>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins with the batch of a step.
    pub fn start(stream: &Arc<ImageStream>, loader: &Loader, step: u64) -> Ahead {
        let together = (TOGETHER_IMAGES / loader.batch_images()).max(1);
        let (sender, decoded) = sync_channel(2 * together);
        let (stream, loader) = (Arc::clone(stream), loader.clone());
        let thread = thread::spawn(move || prepare(&stream, loader, step, together as u64, &sender));
        Ahead { next: step, decoded: Some(decoded), thread: Some(thread) }
    }

    /// The step whose batch [`Ahead::take`] returns next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// Images that cannot be read.
    ///
    /// # Panics
    /// After an error.
    pub fn take(&mut self) -> Result<Decoded> {
        self.next += 1;
        let decoded = self.decoded.as_ref().expect("the thread lives as long as this");
        decoded.recv().expect("the thread sends batches until one fails")
    }
}

impl Drop for Ahead {
    /// Ends the thread: nobody takes its next batch.
    fn drop(&mut self) {
        drop(self.decoded.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported where a batch was missing.
            let _ = thread.join();
        }
    }
}

/// Decodes batches until nobody takes them, or one fails.
fn prepare(stream: &ImageStream, mut loader: Loader, first: u64, together: u64, sender: &SyncSender<Result<Decoded>>) {
    let mut sight = Sight::default();
    for step in (first..).step_by(together as usize) {
        match decode(stream, &mut loader, &mut sight, step..step + together) {
            Ok(batches) => {
                for batch in batches {
                    if sender.send(Ok(batch)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // Fails where nobody takes batches any more, and then the error is of no interest.
                let _ = sender.send(Err(error));
                return;
            }
        }
    }
}

/// Decodes the batches of some steps together.
fn decode(stream: &ImageStream, loader: &mut Loader, sight: &mut Sight, steps: Range<u64>) -> Result<Vec<Decoded>> {
    let batch_images = loader.batch_images() as u64;
    sight.move_to(stream, loader, steps.start * batch_images..steps.end * batch_images)?;
    let batches: Vec<Batch> = steps.map(|step| loader.batch(step)).collect();
    let bytes = stream.shape.bytes();
    let mut pixels: Vec<Vec<u8>> = batches.iter().map(|batch| vec![0; batch.indices.len() * bytes]).collect();
    let images = batches.iter().zip(&mut pixels).flat_map(|(batch, pixels)| stream.places(&batch.indices, pixels));
    stream.decode(&sight.held, images.collect())?;
    Ok(batches.into_iter().zip(pixels).collect())
}

/// The blocks of the window that is being read, and those that the next one will need: the further the one has come, the
/// more of the other, so that its blocks are not read all at once.
#[derive(Default)]
struct Sight {
    held: Held,
    /// Places at which the blocks end in the sequence of blocks, in its order.
    ends: VecDeque<(u64, usize)>,
    /// The place up to which the sequence has been read.
    read: u64,
}

impl Sight {
    /// Holds what some positions need and a window from there on, and lets go of what they do not need any more.
    fn move_to(&mut self, stream: &ImageStream, loader: &mut Loader, positions: Range<u64>) -> Result<()> {
        let Some(windows) = loader.in_blocks() else { return Ok(()) };
        let start = windows.window_start(positions.start);
        while let Some(&(_, block)) = self.ends.front().filter(|(end, _)| *end <= start) {
            self.ends.pop_front();
            if self.ends.iter().all(|&(_, other)| other != block) {
                self.held.remove(&block);
            }
        }
        self.read = self.read.max(start);
        let mut blocks = Vec::new();
        while self.read < positions.end + windows.window() {
            let place = windows.place(self.read);
            blocks.push(place.block);
            self.ends.push_back((place.end, place.block));
            self.read = place.end;
        }
        stream.hold(&mut self.held, &blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, ImageFiles, Layout};
    use super::*;
    use crate::Error;
    use crate::data::shape::Shape;
    use crate::data::windows::Windows;
    use std::sync::Mutex;

    const BLOCKS: usize = 40;
    const IN_BLOCK: usize = 25;
    const WINDOW: usize = 100;
    const BATCH: usize = 10;

    /// Notes which blocks are read.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<usize>>);

    impl ImageFiles for Noting {
        fn layout(&self) -> Layout {
            Layout::Blocks(vec![IN_BLOCK as u32; BLOCKS])
        }

        fn read(&self, block: usize) -> Result<Block> {
            self.0.lock().unwrap().push(block);
            let mut files = Block::default();
            (0..IN_BLOCK).for_each(|_| files.push(b"file"));
            Ok(files)
        }

        fn error(&self, row: usize, reason: String) -> Error {
            Error::format("noting", format!("{row}: {reason}"))
        }
    }

    /// Two windows at most are in memory, with the ends of their blocks; they are filled little by little, and nothing is
    /// read twice in an epoch, but for what a run that goes on in the middle begins with.
    #[test]
    fn what_is_in_memory_is_bounded_and_read_once() {
        let files = Arc::new(Noting::default());
        let shape = Shape { height: 1, width: 1, channels: 1, to_grey: false };
        let stream = ImageStream::new(Arc::clone(&files) as Arc<dyn ImageFiles>, shape, WINDOW);
        for first in [0, 137] {
            files.0.lock().unwrap().clear();
            let windows = Windows::new(stream.blocks().unwrap(), None, WINDOW, 3);
            let (mut loader, mut sight) = (Loader::windows(windows, BATCH, 3, false), Sight::default());
            for step in first..first + 250u64 {
                let positions = step * BATCH as u64..(step + 1) * BATCH as u64;
                let before = files.0.lock().unwrap().len();
                sight.move_to(&stream, &mut loader, positions).unwrap();
                let read = files.0.lock().unwrap().len() - before;
                assert!(step == first || read <= BATCH.div_ceil(IN_BLOCK) + 1, "{read} blocks in step {step}");
                let held = sight.held.len() * IN_BLOCK;
                assert!(held <= 2 * WINDOW + BATCH + 2 * IN_BLOCK, "{held} images in step {step}");
                for sample in loader.batch(step).indices {
                    assert!(sight.held.contains_key(&(sample / IN_BLOCK)), "sample {sample} of step {step}");
                }
            }
            // 2.5 epochs and a window ahead.
            let most = (5 * BLOCKS).div_ceil(2) + 3 * WINDOW / IN_BLOCK;
            assert!(files.0.lock().unwrap().len() <= most, "{:?}", files.0);
        }
    }
}
