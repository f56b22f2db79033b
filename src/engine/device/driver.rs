//! The driver interface: the few things that the engine asks of whatever executes its kernels. Two implementations:
//! a CUDA GPU through cudarc (`cuda`), and the emulator that runs the same kernels on the host (`emu`).

use super::TensorMap;
use crate::Result;
use std::sync::Arc;

/// One resolved kernel argument.
#[derive(Clone, Debug, PartialEq)]
pub enum KernelArg {
    /// A device address and the extent of the tensor that it points to. Address 0: an absent optional argument.
    Pointer {
        address: u64,
        bytes: usize,
    },
    /// A parameter of the kernels' type `TensorMap`: boxes of the tensor at this address, of this extent.
    TensorMap {
        address: u64,
        bytes: usize,
        map: TensorMap,
    },
    I32(i32),
    U32(u32),
    U64(u64),
    F32(f32),
    /// A struct by value: pointers and numbers, its fields in order.
    Struct(Vec<KernelArg>),
}

impl KernelArg {
    /// Addresses and extents of the memory that it lets a kernel touch.
    pub(super) fn extents(&self) -> Vec<(u64, usize)> {
        match *self {
            KernelArg::Pointer { address, bytes } if address != 0 => vec![(address, bytes)],
            KernelArg::TensorMap { address, bytes, .. } => vec![(address, bytes)],
            KernelArg::Struct(ref fields) => fields.iter().flat_map(KernelArg::extents).collect(),
            _ => Vec::new(),
        }
    }

    /// A struct of these fields as it lies in memory: each at a multiple of its size, and the whole, too, a multiple of
    /// the largest of these.
    pub(super) fn struct_bytes(fields: &[KernelArg]) -> Vec<u8> {
        let (mut bytes, mut align) = (Vec::new(), 1);
        for field in fields {
            let value = match *field {
                KernelArg::Pointer { address: word, .. } | KernelArg::U64(word) => word.to_ne_bytes().to_vec(),
                KernelArg::I32(value) => value.to_ne_bytes().to_vec(),
                KernelArg::U32(value) => value.to_ne_bytes().to_vec(),
                KernelArg::F32(value) => value.to_ne_bytes().to_vec(),
                KernelArg::TensorMap { .. } | KernelArg::Struct(_) => panic!("a field is a pointer or a number"),
            };
            align = align.max(value.len());
            bytes.resize(bytes.len().next_multiple_of(value.len()), 0);
            bytes.extend(value);
        }
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        bytes
    }
}

/// The instructions that kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Instructions of compute capability 8.0, which every supported GPU has: tensor cores, asynchronous copies.
    Ampere,
    /// Also those of 9.0: tensor copies, warpgroup products. Kernels that use them, in files `*_sm90.cu`, run on no other
    /// generation, not even a later one.
    Hopper,
}

impl Capability {
    /// Capability of a GPU with this compute capability.
    pub fn of(compute_capability: (u32, u32)) -> Capability {
        if compute_capability == (9, 0) { Capability::Hopper } else { Capability::Ampere }
    }
}

/// Multiprocessors of an H100 or H200 (SXM), for which launches are planned: another device only takes fewer blocks at a
/// time.
pub const MULTIPROCESSORS: usize = 132;

/// One kernel launch, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelCall {
    /// Exported name, e.g. `silu_fwd_bf16`.
    pub kernel: String,
    /// The layer whose work it is, for messages and profilers; may be empty.
    pub layer: Arc<str>,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads per block.
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub smem_bytes: u32,
    /// In the kernel's order.
    pub args: Vec<KernelArg>,
}

/// A device allocation. It must be given back to [`Driver::free`].
#[derive(Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Device address, a multiple of 256.
    pub address: u64,
    /// Size in bytes.
    pub bytes: usize,
}

/// A recorded list of launches that replays as one.
pub trait Recording: Send {
    /// Enqueues every launch of the recording, in order.
    ///
    /// # Errors
    /// A failing kernel, where the device reports it at once.
    fn replay(&mut self) -> Result<()>;
}

/// Most bytes of a [`Driver::read_back`].
pub const READ_BACK_BYTES: usize = 256;

/// A copy to the host that may still be under way.
pub trait ReadBack: Send {
    /// Waits for it, not for work that was enqueued later.
    ///
    /// # Errors
    /// Errors of earlier work.
    fn wait(self: Box<Self>) -> Result<Vec<u8>>;
}

/// Runs kernels. Work is asynchronous and in order; [`Driver::synchronize`], [`Driver::download`] and
/// [`Driver::time_ms`] wait for it, and errors of earlier launches surface there at the latest.
pub trait Driver: Send {
    /// The device in words, e.g. `NVIDIA H200 (cuda:0)`.
    fn name(&self) -> String;
    /// Compute capability, e.g. `(9, 0)`.
    fn compute_capability(&self) -> (u32, u32);
    /// Multiprocessors: persistent blocks are no more than run at once.
    fn multiprocessors(&self) -> usize;
    /// True if work that is enqueued runs while the caller goes on.
    fn is_asynchronous(&self) -> bool;
    /// Free and total device memory in bytes.
    ///
    /// # Errors
    /// When the device does not answer.
    fn memory_info(&self) -> Result<(u64, u64)>;
    /// Allocates `bytes` of uninitialised memory.
    ///
    /// # Errors
    /// When that much is not free; the message names both figures.
    fn alloc(&self, bytes: usize) -> Result<Allocation>;
    /// Frees an allocation after the work that uses it is done.
    fn free(&self, allocation: Allocation);
    /// Sets `bytes` bytes at `address` to `value`.
    ///
    /// # Errors
    /// An address range outside every allocation, or a failed device.
    fn fill(&self, address: u64, bytes: usize, value: u8) -> Result<()>;
    /// Copies host bytes to `address`. The slice may be reused at once. The bytes travel while earlier work runs, and
    /// arrive at `address` after it.
    ///
    /// # Errors
    /// As for [`Driver::fill`].
    fn upload(&self, address: u64, host: &[u8]) -> Result<()>;
    /// Waits for all work and copies from `address` to the host.
    ///
    /// # Errors
    /// As for [`Driver::fill`], and errors of earlier work.
    fn download(&self, address: u64, host: &mut [u8]) -> Result<()>;
    /// Enqueues a copy of a few bytes (at most [`READ_BACK_BYTES`]) to the host.
    ///
    /// # Errors
    /// As for [`Driver::fill`].
    fn read_back(&self, address: u64, bytes: usize) -> Result<Box<dyn ReadBack>>;
    /// Enqueues one launch.
    ///
    /// # Errors
    /// An unknown kernel or an impossible geometry.
    fn launch(&self, call: &KernelCall) -> Result<()>;
    /// Records launches for replay (a CUDA graph; a list on the emulator). Nothing runs yet.
    ///
    /// # Errors
    /// As for [`Driver::launch`].
    fn record(&self, calls: &[KernelCall]) -> Result<Box<dyn Recording>>;
    /// Runs the calls and returns the milliseconds that each took.
    ///
    /// # Errors
    /// As for [`Driver::launch`].
    fn time_ms(&self, calls: &[KernelCall]) -> Result<Vec<f32>>;
    /// Waits until all work is done.
    ///
    /// # Errors
    /// Errors of that work.
    fn synchronize(&self) -> Result<()>;
}
