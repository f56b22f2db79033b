//! Exercises of the book. Each is a file with a hole, named after its chapter, and a file of tests beside it in `tests/`.
//!
//! ```sh
//! cargo test --release -p exercises ch4                        # yours
//! cargo test --release -p exercises --features solutions ch4   # the book's, docs/book/solutions
//! ```
//!
//! Kernels stand in `kernels/`; the build script compiles them for the emulator.

#[cfg_attr(feature = "solutions", path = "../../solutions/ch10_fragments.rs")]
pub mod ch10_fragments;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch11_patch.rs")]
pub mod ch11_patch;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch11_phases.rs")]
pub mod ch11_phases;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch11_winograd.rs")]
pub mod ch11_winograd;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch12_intensity.rs")]
pub mod ch12_intensity;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch12_swizzle.rs")]
pub mod ch12_swizzle;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch13_softmax.rs")]
pub mod ch13_softmax;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch14_gap.rs")]
pub mod ch14_gap;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch14_waves.rs")]
pub mod ch14_waves;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch15_frechet.rs")]
pub mod ch15_frechet;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch15_kernel.rs")]
pub mod ch15_kernel;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch15_reviewer.rs")]
pub mod ch15_reviewer;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch16_batches.rs")]
pub mod ch16_batches;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch16_whole.rs")]
pub mod ch16_whole;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch17_exchange.rs")]
pub mod ch17_exchange;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch17_tree.rs")]
pub mod ch17_tree;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch1_same_ratio.rs")]
pub mod ch1_same_ratio;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch1_signal_left.rs")]
pub mod ch1_signal_left;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch2_best_denoiser.rs")]
pub mod ch2_best_denoiser;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch2_score_of_v.rs")]
pub mod ch2_score_of_v;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch3_gaussian_kl.rs")]
pub mod ch3_gaussian_kl;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch3_noise_weight.rs")]
pub mod ch3_noise_weight;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch4_ddim_step.rs")]
pub mod ch4_ddim_step;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch4_moments.rs")]
pub mod ch4_moments;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch5_classifier.rs")]
pub mod ch5_classifier;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch5_guided.rs")]
pub mod ch5_guided;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch6_weights.rs")]
pub mod ch6_weights;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch7_arena.rs")]
pub mod ch7_arena;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch7_reverse_mode.rs")]
pub mod ch7_reverse_mode;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch8_floor.rs")]
pub mod ch8_floor;
#[cfg_attr(feature = "solutions", path = "../../solutions/ch8_softplus.rs")]
pub mod ch8_softplus;

#[cfg(test)]
mod tests;
