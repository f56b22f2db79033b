//! How `kernels/attention.cu` cuts a head into blocks.

use super::shape::Shape;
use crate::engine::tensor::DType;
use crate::{Error, Result};

/// A kernel and its geometry, which must agree with `Shape` in `kernels/attention.cu`.
#[derive(Debug, PartialEq)]
pub struct Tiles {
    /// Columns of a result that a block holds in registers: selects the kernel.
    pub width: usize,
    /// Each owns 16 rows.
    pub warps: usize,
    /// Blocks that cover the rows of a head.
    pub per_head: usize,
    pub shared_bytes: usize,
}

/// Shared memory that every supported GPU gives to a block.
pub const SHARED_BYTES: usize = 99 * 1024;

impl Tiles {
    pub fn forward(s: &Shape, dtype: DType) -> Tiles {
        Tiles::new(s, dtype, 64, &[s.dk], 0)
    }

    pub fn backward(s: &Shape, dtype: DType) -> Tiles {
        let columns = if width(s) == 256 { 32 } else { 64 };
        // Two floats per column: its lse and delta.
        Tiles::new(s, dtype, columns, &[s.dk, s.dv], 8 * columns)
    }

    /// `row_dims`: head dimensions of the row operands that stay in shared memory.
    fn new(s: &Shape, dtype: DType, columns: usize, row_dims: &[usize], extra_bytes: usize) -> Tiles {
        let width = width(s);
        let chunk = if width < 64 { width } else { 4096 / columns };
        let padding = 16 / dtype.bytes();
        let buffers = if dtype == DType::Bf16 { 3 } else { 2 };
        let ring_bytes = buffers * columns * (chunk + padding) * dtype.bytes();
        let row_bytes: usize = row_dims.iter().map(|d| (d.next_multiple_of(chunk) + padding) * dtype.bytes()).sum();
        let shared_bytes = |warps: usize| ring_bytes + 16 * warps * row_bytes + extra_bytes;
        let mut warps = 4;
        while warps > 1 && (shared_bytes(warps) > SHARED_BYTES || warps * 8 >= s.l) {
            warps /= 2;
        }
        Tiles { width, warps, per_head: s.l.div_ceil(16 * warps), shared_bytes: shared_bytes(warps) }
    }
}

/// Checks that a block has room for the tiles of such heads.
pub fn check_tiles(op: &'static str, tiles: fn(&Shape, DType) -> Tiles, s: &Shape, dtype: DType) -> Result<()> {
    let taken = |dtype| tiles(s, dtype).shared_bytes;
    if taken(dtype) <= SHARED_BYTES {
        return Ok(());
    }
    let remedy = match dtype {
        DType::F32 if taken(DType::Bf16) <= SHARED_BYTES => "; they fit in bf16",
        _ => "; more heads of fewer dimensions would fit",
    };
    let reason = format!(
        "heads of {} dimensions for queries and keys and {} for values take {} bytes of a GPU's shared memory in {}, \
         which has {SHARED_BYTES}{remedy}",
        s.dk,
        s.dv,
        taken(dtype),
        dtype.suffix()
    );
    Err(Error::Shape { op, reason })
}

/// The narrowest kernel that holds a head in one block, or the widest.
fn width(s: &Shape) -> usize {
    s.dk.max(s.dv).next_power_of_two().clamp(32, 256)
}
