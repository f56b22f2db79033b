//! Ranges on the timelines of NVIDIA's profilers (NVTX), in programs built with the feature `nvtx`. Without it, and where
//! no profiler listens, they cost nothing worth a measurement.

#[cfg(feature = "nvtx")]
use std::ffi::CString;

/// A part of this thread's timeline: from [`range`] until it is dropped. Ranges nest.
pub struct Range {
    #[cfg(feature = "nvtx")]
    _open: Option<nvtx::LocalRange>,
}

/// Opens a range; none without a name.
#[cfg(feature = "nvtx")]
pub fn range(name: &str) -> Range {
    let name = CString::new(name).ok().filter(|name| !name.is_empty());
    Range { _open: name.map(nvtx::LocalRange::new) }
}

/// Opens a range; none without a name.
#[cfg(not(feature = "nvtx"))]
pub fn range(_name: &str) -> Range {
    Range {}
}
