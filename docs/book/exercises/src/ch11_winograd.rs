//! Exercise 11.2: two pixels of a line for four multiplications.

use std::ops::{Add, Mul, Sub};

/// `G g`: a filter of three taps at the points 0, 1, -1, infinity. Once for each filter, so its cost does not count.
pub fn filter(g: [f64; 3]) -> [f64; 4] {
    let _ = g;
    todo!("exercise 11.2")
}

/// `A^T [(G g) * (B^T d)]`: the pixels `d0 g0 + d1 g1 + d2 g2` and `d1 g0 + d2 g1 + d3 g2`, where `transformed` is the
/// filter as [`filter`] gives it.
pub fn two_pixels<T>(d: [T; 4], transformed: [T; 4]) -> [T; 2]
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T>,
{
    let _ = (d, transformed);
    todo!("exercise 11.2")
}
