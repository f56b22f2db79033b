//! Copies to the host that may still be under way.

use super::gpu::Gpu;
use crate::Result;
use crate::engine::device::driver::ReadBack;
use cudarc::driver::{CudaEvent, PinnedHostSlice};
use std::sync::Arc;

/// A copy to the host.
pub(super) struct PendingCopy {
    pub gpu: Arc<Gpu>,
    pub memory: Option<PinnedHostSlice<u8>>,
    pub bytes: usize,
    pub copied: CudaEvent,
}

impl ReadBack for PendingCopy {
    fn wait(mut self: Box<Self>) -> Result<Vec<u8>> {
        self.copied.synchronize().map_err(|e| self.gpu.failed_work(e))?;
        let memory = self.memory.take().expect("taken once");
        let bytes = memory.as_slice().map_err(self.gpu.doing("read-back"))?[..self.bytes].to_vec();
        self.gpu.state().spare.push(memory);
        Ok(bytes)
    }
}

impl Drop for PendingCopy {
    fn drop(&mut self) {
        if self.memory.is_some() {
            self.gpu.context.record_err(self.copied.synchronize());
        }
    }
}
