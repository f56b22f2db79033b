//! Exercise 14.1: blocks that come in waves.

/// The number of waves in which `blocks` blocks pass through `places` places, and the part of the places of all waves that is
/// used. All blocks take the same time. Both numbers are at least 1.
pub fn waves(blocks: u64, places: u64) -> (u64, f64) {
    let _ = (blocks, places);
    todo!("exercise 14.1")
}
