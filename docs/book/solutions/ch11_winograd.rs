//! Exercise 11.2: two pixels of a line for four multiplications.

use std::ops::{Add, Mul, Sub};

/// `G g`: a filter of three taps at the points 0, 1, -1, infinity.
pub fn filter(g: [f64; 3]) -> [f64; 4] {
    let even = g[0] + g[2];
    [g[0], (even + g[1]) / 2.0, (even - g[1]) / 2.0, g[2]]
}

/// `A^T [(G g) * (B^T d)]`: two pixels of the output.
pub fn two_pixels<T>(d: [T; 4], transformed: [T; 4]) -> [T; 2]
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T>,
{
    let [g0, g1, g2, g3] = transformed;
    let m = [(d[0] - d[2]) * g0, (d[1] + d[2]) * g1, (d[2] - d[1]) * g2, (d[1] - d[3]) * g3];
    [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
}
