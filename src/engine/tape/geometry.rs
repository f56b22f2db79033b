//! Launch geometry of the simpler kernels: how many elements a thread works on, and so how many blocks there are.

use crate::engine::tensor::Tensor;

/// Threads of a block, unless a launch sets others.
pub const THREADS: usize = 256;

/// Blocks whose threads each work on `per_thread` of `n` elements.
pub fn blocks(n: usize, per_thread: usize) -> usize {
    n.div_ceil(per_thread * THREADS)
}

/// Grid in one dimension, of threads that each work on `per_thread` of `n` elements.
pub fn flat(n: usize, per_thread: usize) -> [usize; 3] {
    [blocks(n, per_thread), 1, 1]
}

/// Grid of threads that each work on `per_thread` elements of one image of `x [n, ..]`; grid.y counts images.
pub fn images(x: Tensor, per_thread: usize) -> [usize; 3] {
    [blocks(image_len(x), per_thread), x.dim(0), 1]
}

/// Grid of threads that each write neighbouring channels of one pixel of `out [n, .., c]`: 16 bytes where c allows it,
/// else one channel. grid.y counts images.
pub fn channels(out: Tensor) -> [usize; 3] {
    channels_of(out, &[out.last_dim()])
}

/// The same where rows of so many channels each are to begin with a whole vector.
pub fn channels_of(out: Tensor, rows: &[usize]) -> [usize; 3] {
    let vector = 16 / out.dtype().bytes();
    images(out, if rows.iter().all(|c| c.is_multiple_of(vector)) { vector } else { 1 })
}

/// Blocks of a sum of `n` numbers. It depends on `n` alone, so that the order of the additions does too, and is large enough
/// to fill any GPU.
pub fn sum_blocks(n: usize, per_thread: usize) -> usize {
    blocks(n, per_thread).clamp(1, 1024)
}

/// Elements of one image of `x [n, ..]`.
pub fn image_len(x: Tensor) -> usize {
    x.numel() / x.dim(0)
}

/// Height, width and channels of images `x [n, h, w, c]`.
pub fn hwc(x: Tensor) -> [usize; 3] {
    [x.dim(1), x.dim(2), x.dim(3)]
}
