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
    // Of one input channel, two bytes each.
    let pixels = if block.columns_once { 3 * (block.rows + 2) } else { 9 * block.rows } * block.columns * 2;
    let weights = 9.0 * block.channels as f64 * 2.0 / block.cluster as f64;
    let operations = 2 * 9 * block.channels * block.rows * block.columns;
    operations as f64 / (pixels as f64 + weights)
}

/// The most stages of weights that fit beside three stages of pixels.
pub fn weight_stages(block: Block, bytes: usize) -> usize {
    let rows = if block.columns_once { block.rows + 2 } else { block.rows };
    let left = bytes.saturating_sub(3 * rows * block.columns * 128);
    (left / (block.channels * 128)).min(8)
}
