//! The ops: each file pairs with a CUDA source of the same name in `kernels/` and holds, in this order, the
//! mathematics, the op as layer code calls it, its gradient, the CPU implementation and the kernel launch.

/// The tape's own, which adds gradients up.
pub use crate::engine::tape::add;

pub mod adam;
pub mod attention;
pub mod avg_pool;
pub mod avg_pool_same;
pub mod cast;
pub mod channel_bias;
// The tests' harness: tests have the emulator.
#[cfg(feature = "emulator")]
pub mod check;
pub mod concat;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod global_avg_pool;
pub mod grad_norm;
pub mod group_norm;
pub mod hybrid_loss;
pub mod image_map;
pub mod linear;
pub mod max_pool;
pub mod noise_loss;
pub mod philox;
pub mod records;
pub mod relu;
pub mod sampler_step;
pub mod scale_add;
pub mod silu;
pub mod time_input;
pub mod timestep_embedding;
pub mod upsample;
pub mod upsample_conv2d;
