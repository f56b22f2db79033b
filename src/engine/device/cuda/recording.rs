//! Recorded launches.

use super::gpu::Gpu;
use crate::Result;
use crate::engine::device::driver::Recording;
use cudarc::driver::CudaGraph;
use std::sync::Arc;

/// Launches as one CUDA graph.
pub(super) struct Graph {
    pub graph: CudaGraph,
    /// Keeps the kernels loaded and the memory allocated.
    pub gpu: Arc<Gpu>,
}

// SAFETY: a graph must not be used by two threads at once; it is not Sync, and replaying takes `&mut`. It may move between
// threads: every call binds the context first.
unsafe impl Send for Graph {}

impl Recording for Graph {
    fn replay(&mut self) -> Result<()> {
        self.graph.launch().map_err(self.gpu.doing("replay"))
    }
}
