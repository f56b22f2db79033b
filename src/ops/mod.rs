//! Operations: one file each, paired with its kernels.

pub mod conv2d;
pub mod simd;
