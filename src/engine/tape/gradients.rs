//! State of the gradients while the reverse pass is recorded: contributions that have arrived, and sums that wait.

use crate::engine::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// Contributions to one gradient so far.
pub(super) enum Gradient {
    /// A parameter's, in its fixed place: the first contribution is written there, others are added.
    Parameter { place: Tensor, written: bool },
    /// Contributions, at least one, that add up to it.
    Sum(Vec<Tensor>),
    /// These columns of it, which several ops write into one tensor.
    Columns { whole: Tensor, written: Vec<Range<usize>> },
}

/// A sum of parts that blocks have written apart.
#[derive(Clone, Copy, Debug)]
pub struct PartSum {
    /// f32, of any shape.
    pub total: Tensor,
    /// `[count, total.numel()]` in f32.
    pub parts: Tensor,
}

/// Bytes of parts that may wait; with the one that exceeds them they are summed.
///
/// More would save launches, but parts that wait for long cost more than that. Summed at once they come out of the L2
/// cache, and the parts of a later layer overwrite them there. After 50 MB of other traffic they have been written to
/// memory and are read back: at 3.7 TB/s of memory, about 6 TB/s of cache, and 2 us a launch that pays below 5 MB a
/// layer. With the traffic of the benchmark models between their layers, counted, the sums of a step of ddpm-cifar10
/// (batch 128), mnist-123 (128) and unet64 (32) take by such an estimate
///
/// ```text
/// limit in MB      0     6    12    16    24    48
/// ddpm-cifar10   353   343   343   346   401   524 us
/// mnist-123      209   205   202   233   243   264 us
/// unet64         255   228   205   228   263   278 us
/// ```
const WAITING_BYTES: usize = 12 << 20;

/// Sums that are still to be made, each with its layer.
#[derive(Debug)]
pub(super) struct Waiting {
    sums: Vec<(Arc<str>, PartSum)>,
    /// [`WAITING_BYTES`], but in tests.
    pub(super) most_bytes: usize,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { sums: Vec::new(), most_bytes: WAITING_BYTES }
    }
}

impl Waiting {
    pub(super) fn add(&mut self, layer: &Arc<str>, sums: impl IntoIterator<Item = PartSum>) {
        self.sums.extend(sums.into_iter().map(|sum| (layer.clone(), sum)));
    }

    /// Takes all sums.
    pub(super) fn take(&mut self) -> Vec<(Arc<str>, PartSum)> {
        std::mem::take(&mut self.sums)
    }

    pub(super) fn is_full(&self) -> bool {
        self.sums.iter().map(|(_, sum)| sum.parts.bytes()).sum::<usize>() > self.most_bytes
    }

    /// True of a gradient whose sum is still to be made.
    pub(super) fn has(&self, t: Tensor) -> bool {
        self.sums.iter().any(|(_, sum)| sum.total.place == t.place)
    }
}
