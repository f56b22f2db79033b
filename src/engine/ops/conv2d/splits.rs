//! Sums over pixels in parts.

use crate::engine::tape::{Backend, PartSum, Tape};
use crate::engine::tensor::{DType, Tensor};

/// Splits of the pixels of a weight gradient over blocks. The sums of the splits are added in order, so that the
/// result depends on the shape alone.
#[derive(Clone, Copy, Debug)]
pub struct Splits {
    pub count: usize,
    /// Pixels of each but the last.
    pub pixels: usize,
}

impl Splits {
    /// Splits for the column sums of `dy`.
    pub fn of_bias(dy: Tensor) -> Splits {
        let c = dy.last_dim();
        Splits::new(dy.numel() / c, c.div_ceil(64))
    }

    /// Splits of so many pixels, for so many blocks in each.
    pub fn new(pixels: usize, blocks: usize) -> Splits {
        /// Blocks to aim for: two for each multiprocessor of a large GPU.
        const BLOCKS: usize = 256;
        const MOST: usize = 64;
        /// Pixels that make a split worth its extra sum, and the step in which the kernel takes them.
        const LEAST_PIXELS: usize = 256;
        const STEP: usize = 32;
        let wanted = BLOCKS.div_ceil(blocks).min(pixels / LEAST_PIXELS).clamp(1, MOST);
        let each = pixels.div_ceil(wanted).next_multiple_of(STEP);
        Splits { count: pixels.div_ceil(each), pixels: each }
    }

    /// Returns the tensor that the kernel writes for the gradient `total`: itself, or one with a part for each split.
    pub fn destination(&self, tape: &mut Tape, total: Tensor) -> Tensor {
        let is_split = self.count > 1 && !total.is_empty() && tape.backend() != Backend::Cpu;
        if is_split { tape.tensor(&[self.count, total.numel()], DType::F32) } else { total }
    }
}

/// Asks the tape to sum the parts that splits have written; a gradient written in its place needs no sum.
pub fn sum_later<const N: usize>(tape: &mut Tape, totals: [Tensor; N], destinations: [Tensor; N]) {
    let sums = totals.into_iter().zip(destinations).map(|(total, parts)| PartSum { total, parts });
    tape.sum_later(sums.filter(|sum| sum.parts.place != sum.total.place));
}
