//! The geometry of the kernels.

use super::shape::Shape;
use crate::engine::tape::Launch;
use crate::engine::tensor::DType;

/// How an image is shared out among blocks: each takes a slab of whole neighbouring groups.
#[derive(Debug, PartialEq)]
pub(super) struct Slabs {
    /// Groups in a slab; the last slab may have fewer.
    pub groups: usize,
    /// Slabs of an image.
    pub count: usize,
    pub threads: usize,
    pub shared_bytes: usize,
}

/// Images for which slabs are cut, however many there are: the order in which threads sum an image's pixels must not depend
/// on the batch that it is part of.
const BATCH: usize = 128;

impl Slabs {
    /// A slab is at least a 32-byte sector wide. While a batch of `BATCH` has enough blocks for a large GPU (two for each
    /// of 132 processors), it grows to 64 bytes, and further where an image has too few pixels to give every thread work.
    pub fn new(shape: Shape, dtype: DType) -> Slabs {
        let Shape { pixels, c, groups: all, .. } = shape;
        let bytes = |groups: usize| groups * (c / all) * dtype.bytes();
        let mut groups = 1;
        while groups < all {
            let narrow = bytes(groups) < 32;
            let enough_blocks = BATCH * all / (2 * groups) >= 264;
            let wants_work = bytes(groups) < 64 || bytes(groups) * pixels < 32 * 1024;
            if !(narrow || enough_blocks && wants_work) {
                break;
            }
            groups = (2 * groups).min(all);
        }
        let channels = groups * (c / all);
        let full = 16 / dtype.bytes();
        let vec = if c % full == 0 && channels % full == 0 { full } else { 1 };
        let threads = if pixels * channels / vec >= 256 { 256 } else { 128 };
        // Pairs of floats: per thread and channel of its vector, per channel, per group.
        let shared_bytes = 8 * (threads * vec + channels + groups);
        Slabs { groups, count: all.div_ceil(groups), threads, shared_bytes }
    }

    /// Gives a launch its geometry for `n` images.
    pub fn launch<'a>(&self, launch: &'a mut Launch, n: usize) -> &'a mut Launch {
        launch.grid([n * self.count, 1, 1]).block(self.threads).smem(self.shared_bytes)
    }
}
