//! Exercise 11.3: which taps reach a pixel.

/// The taps of a kernel, along one axis, that reach the input pixels `i` with `i % stride == phase`, in rising order: tap `r`
/// of output pixel `p` lies over input pixel `p stride - pad + r`, where p may be any whole number.
pub fn taps_that_reach(phase: usize, stride: usize, pad: usize, taps: usize) -> Vec<usize> {
    let _ = (phase, stride, pad, taps);
    todo!("exercise 11.3")
}
