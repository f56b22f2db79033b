//! Exercise 12.3: operations for each byte that a block loads.

/// A block of a 3x3 convolution of stride 1 in bf16: a tile of so many output channels and of `rows` x `columns` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
    /// The pixels under the three taps of a column are loaded once, with the two rows more that they need; otherwise the
    /// pixels are loaded anew for each of the nine taps.
    pub columns_once: bool,
    /// Blocks of a cluster that load a part of the weights each, for all of them. The pixels are each block's own.
    pub cluster: usize,
}

/// Operations (two for a multiplication and its addition) for each byte that the block asks for.
pub fn intensity(block: Block) -> f64 {
    let _ = block;
    todo!("exercise 12.3")
}

/// The most stages of weights (one tap, 64 input channels, all channels of the tile) that fit into `bytes` of shared memory
/// beside three stages of pixels, loaded as `columns_once` says, 64 channels of them; 0 if not even these fit. For a ring of
/// 8 at most.
pub fn weight_stages(block: Block, bytes: usize) -> usize {
    let _ = (block, bytes);
    todo!("exercise 12.3")
}
