//! Exercise 12.1: the swizzle.

/// Where in shared memory byte `byte` of row `row` of a box lies.
pub fn swizzled(row: usize, byte: usize) -> usize {
    let chunk = (byte / 16) ^ (row % 8);
    row * 128 + chunk * 16 + byte % 16
}
