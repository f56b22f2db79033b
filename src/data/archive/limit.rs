//! The most that is read of one entry.

use crate::data::decode::MAX_PIXELS;

/// Bytes of the largest entry that is read: four for each pixel of the largest image. A damaged or malicious header may
/// promise any size.
pub(in crate::data) const MOST_ENTRY: u64 = 4 * MAX_PIXELS as u64;

/// The refusal of an entry that is too long.
pub(super) fn too_long(promised: u64) -> String {
    format!("the archive promises {promised} bytes; entries of at most {MOST_ENTRY} are read")
}
