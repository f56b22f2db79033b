//! Uploads: from the caller's memory through pinned memory and a copy stream.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, PinnedHostSlice, sys};
use std::sync::Arc;

/// Memory that uploads pass through: pinned host memory, so that the caller's slice is free at once; then device memory, so that
/// the bytes cross the bus while earlier work runs, and only a copy within the device is left to be done in its turn.
pub(super) struct Staging {
    halves: [Half; 2],
    next: usize,
}

struct Half {
    host: PinnedHostSlice<u8>,
    /// [`STAGING_BYTES`] too.
    device: sys::CUdeviceptr,
    /// The bytes have arrived where they belong.
    arrived: Option<CudaEvent>,
}

/// Bytes of one half.
pub(super) const STAGING_BYTES: usize = 4 << 20;

impl Staging {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Staging, DriverError> {
        let half = || {
            // SAFETY: the bytes are written before they are read.
            let host = unsafe { context.alloc_pinned::<u8>(STAGING_BYTES) }?;
            // SAFETY: as above; `drop` frees it.
            let device = unsafe { result::malloc_sync(STAGING_BYTES) }?;
            Ok(Half { host, device, arrived: None })
        };
        Ok(Staging { halves: [half()?, half()?], next: 0 })
    }

    /// Copies at most [`STAGING_BYTES`] to an address that was checked: on `copies` to the device, on `stream` to their
    /// place.
    pub(super) fn upload(
        &mut self,
        (stream, copies): (&CudaStream, &CudaStream),
        address: u64,
        chunk: &[u8],
    ) -> Result<(), DriverError> {
        let half = &mut self.halves[self.next];
        self.next = 1 - self.next;
        if let Some(arrived) = half.arrived.take() {
            arrived.synchronize()?;
        }
        let sent = half.send(stream, copies, address, chunk);
        if sent.is_err() {
            // No event says when the half may be written again, or freed.
            stream.context().record_err(copies.synchronize());
            stream.context().record_err(stream.synchronize());
        }
        half.arrived = Some(sent?);
        Ok(())
    }
}

impl Half {
    /// Copies a chunk to its place, and returns an event that says when it has arrived.
    fn send(
        &mut self,
        stream: &CudaStream,
        copies: &CudaStream,
        address: u64,
        chunk: &[u8],
    ) -> Result<CudaEvent, DriverError> {
        let staged = &mut self.host.as_mut_slice()?[..chunk.len()];
        staged.copy_from_slice(chunk);
        // SAFETY: the device half is as long as the host half. Neither is written before the event below says that the
        // bytes have arrived.
        unsafe { result::memcpy_htod_async(self.device, staged, copies.cu_stream()) }?;
        stream.wait(&copies.record_event(None)?)?;
        // SAFETY: the destination is a live allocation, and `free` waits for the stream.
        unsafe { result::memcpy_dtod_async(address, self.device, chunk.len(), stream.cu_stream()) }?;
        stream.record_event(None)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let context = self.host.context();
        if let Some(arrived) = self.arrived.take() {
            context.record_err(arrived.synchronize());
        }
        context.record_err(context.bind_to_thread());
        // SAFETY: it came from `malloc_sync`, and the copies from and to it are done.
        context.record_err(unsafe { result::free_sync(self.device) });
    }
}
