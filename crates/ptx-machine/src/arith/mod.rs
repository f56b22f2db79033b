//! Arithmetic of one lane. Every function is small and inlined: the loops over a warp's lanes are made of them, with the
//! operation and its type as constants, so that the compiler makes vectors of those loops.

mod convert;
mod float;
mod scalar;

pub(crate) use convert::convert;
pub(crate) use float::{bf16_to_f32, f16_to_f32};
pub(crate) use scalar::{binary, bits_replaced, compare, ternary, unary};
