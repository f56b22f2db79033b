//! Exercise 8.3: the floor of a group norm.

/// The least bytes that the forward pass of group norm moves, of activations `[n, pixels, c]` in bf16.
pub fn forward_bytes(n: u64, pixels: u64, c: u64, groups: u64) -> u64 {
    let (activation, statistics, parameters) = (2 * n * pixels * c, 4 * 2 * n * groups, 4 * 2 * c);
    2 * activation + statistics + parameters
}

/// Microseconds that so many bytes take at least.
pub fn floor_us(bytes: u64, gb_per_s: f64) -> f64 {
    bytes as f64 / (gb_per_s * 1e9) * 1e6
}
