//! Convolution in NHWC.

pub mod cpu;
pub mod shape;

pub use shape::Conv2dShape;
