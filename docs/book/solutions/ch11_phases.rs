//! Exercise 11.3: which taps reach a pixel.

/// The taps of a kernel, along one axis, that reach the input pixels `i` with `i % stride == phase`, in rising order.
pub fn taps_that_reach(phase: usize, stride: usize, pad: usize, taps: usize) -> Vec<usize> {
    // i = p stride - pad + r, so r and phase + pad leave the same remainder.
    ((phase + pad) % stride..taps).step_by(stride).collect()
}
