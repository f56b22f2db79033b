//! Exercise 14.1: blocks that come in waves.

/// The number of waves in which `blocks` blocks pass through `places` places, and the part of the places that is used.
pub fn waves(blocks: u64, places: u64) -> (u64, f64) {
    let waves = blocks.div_ceil(places);
    (waves, blocks as f64 / (waves * places) as f64)
}
