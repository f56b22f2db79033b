//! Where the time of a training step goes: every launch with what it must compute and move, the least time that takes,
//! the time it is predicted to take, and, where it ran, the time it took.
//!
//! ```text
//! floor      = max(FLOPs / product ceiling, bytes / copy ceiling)
//! predicted  = launch + max(FLOPs / expected rate of the op, bytes / expected bandwidth)
//! ```
//! FLOPs and bytes are counted from the operands of each launch ([`Work`](crate::engine::tape::Work)); ceilings and rates are a [`Machine`]'s.

mod ceilings;
pub mod convolution;
mod inputs;
mod json;
mod machine;
mod step;
mod totals;
mod trace;

pub use ceilings::{measure, measure_or_known};
pub use machine::{Ceilings, Machine, Occupancy, Rates};
pub use step::{Step, random_batch};
pub use totals::{Profile, Row, Total};
pub use trace::trace;

#[cfg(test)]
mod tests;
