//! Tests of the exercises, a file for each, named as it is.

mod ch10_fragments;
mod ch11_patch;
mod ch11_phases;
mod ch11_winograd;
#[cfg(feature = "solutions")]
mod ch12_conv;
mod ch12_intensity;
mod ch12_row_sums;
mod ch12_swizzle;
mod ch13_softmax;
mod ch13_two_products;
mod ch1_same_ratio;
mod ch1_signal_left;
mod ch2_best_denoiser;
mod ch2_score_of_v;
mod ch3_gaussian_kl;
mod ch3_noise_weight;
mod ch4_ddim_step;
mod ch4_moments;
mod ch5_classifier;
mod ch5_guided;
mod ch6_weights;
mod ch7_arena;
mod ch7_reverse_mode;
mod ch8_floor;
mod ch8_row_squares;
mod ch8_softplus;
mod ch9_neighbours;
mod ch9_partial_block;
mod emulated;
