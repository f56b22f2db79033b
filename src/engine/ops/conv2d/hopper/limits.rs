//! Limits of the GPU and of the kernels, and the rates that plans are chosen by.

pub use crate::engine::device::MULTIPROCESSORS;
use crate::engine::ops::conv2d::shape::Conv2dShape;
use crate::engine::tensor::DType;

/// Shared memory of a block.
pub const SHARED_BYTES: usize = 227 * 1024;
/// As in the kernels: a loading warpgroup and two that multiply.
pub const THREADS: usize = 384;
/// Input channels that a box holds.
pub(super) const CHANNEL_BLOCK: usize = 64;
/// Bytes of 64 bf16 channels, the innermost extent of every box.
pub(super) const ROW: usize = 128;
/// Stages that a ring has barriers for.
pub(super) const MAX_STAGES: usize = 8;
/// Largest extent of a TMA box in one dimension.
pub(super) const MAX_BOX: usize = 256;
/// Most rows and columns of a kernel.
pub(super) const MAX_KERNEL: usize = 8;

/// bf16 multiply-adds of a multiprocessor in a cycle.
pub(super) const MACS_PER_CYCLE: usize = 2048;
/// Bytes that a multiprocessor gets out of the L2 cache in a cycle while all of them ask.
pub(super) const L2_BYTES_PER_CYCLE: usize = 26;

/// Returns true if the kernels can compute the shape at all: 16-byte strides, which TMA needs, and boxes that are not
/// mostly padding.
pub(super) fn takes(s: &Conv2dShape, dtype: DType) -> bool {
    let channels = [s.c_in, s.c_out].iter().all(|c| c % 8 == 0 && *c > 32);
    dtype == DType::Bf16 && channels && s.stride <= 2 && s.kh.max(s.kw) <= MAX_KERNEL
}

/// A 1x1 convolution is a matrix product: its images may be seen as one row of pixels.
pub(super) fn is_pointwise(s: &Conv2dShape) -> bool {
    s.kh * s.kw * s.stride == 1 && s.pad_top + s.pad_left + s.pad_bottom + s.pad_right == 0
}

/// The same pixels as one row.
pub(super) fn flattened(s: &Conv2dShape) -> Conv2dShape {
    Conv2dShape { n: 1, h: 1, w: s.n * s.h * s.w, ..*s }
}
