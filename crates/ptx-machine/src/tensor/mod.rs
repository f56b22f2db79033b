//! Matrix products, and the boxes of tensor copies.
//!
//! A product of two bf16, or of two f16, is exact in f32; the sums over k are f32 in ascending order of k, starting at the
//! accumulator. Tensor cores add in an order and with a rounding of their own, so results agree within the rounding of
//! such a sum, not bit for bit.

mod map;
mod warp;
mod warpgroup;

pub use map::TensorMap;
pub(crate) use warp::mma;
pub(crate) use warpgroup::{product, product_reads};

use crate::arith;
use crate::program::Fragment;

#[inline(always)]
fn element(fragment: Fragment, bits: u16) -> f32 {
    match fragment {
        Fragment::Bf16 => arith::bf16_to_f32(bits),
        Fragment::F16 => arith::f16_to_f32(bits),
    }
}
