//! Random inputs of measurements.

use crate::engine::random::Stream;

/// Inputs of measurements.
pub(super) const INPUTS: Stream = Stream::new(10);
