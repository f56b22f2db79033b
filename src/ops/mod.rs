//! The ops: each file pairs with a CUDA source of the same name in `kernels/` and holds, in this order, the
//! mathematics, the op as layer code calls it, its gradient, the CPU implementation and the kernel launch.

pub mod add;
pub mod attention;
pub mod check;
pub mod conv2d;
pub mod group_norm;
pub mod silu;
pub mod simd;
