//! The GPU kernels that this binary carries: tables that the build script writes. Empty if it found no nvcc.

/// The compiled kernels of one file, for several architectures.
pub struct Module {
    /// The file's name below `kernels/`.
    pub file: &'static str,
    /// A fatbin.
    pub image: &'static [u8],
}

/// A kernel that can be launched.
pub struct Kernel {
    /// Its exported name, e.g. `silu_fwd_bf16`.
    pub name: &'static str,
    /// Its name in the module.
    pub symbol: &'static str,
    /// Index in [`MODULES`].
    pub module: usize,
}

impl Kernel {
    /// True if it uses instructions that only compute capability 9.0 has: it is compiled for nothing else.
    pub fn needs_hopper(&self) -> bool {
        MODULES[self.module].file.ends_with("_sm90.cu")
    }
}

/// Resources that a kernel takes on an architecture, as its compiler reported.
pub struct Resources {
    /// Exported name.
    pub kernel: &'static str,
    /// One of [`ARCHITECTURES`].
    pub arch: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
    /// Stack frame of a thread; 0 in every kernel that lands.
    pub stack_bytes: u32,
    /// Register spills of a thread, stores and loads; 0 in every kernel that lands.
    pub spill_bytes: u32,
}

// `TOOLKIT`: version of the CUDA toolkit that compiled the kernels. `ARCHITECTURES`: those that it compiled them for, such as
// `sm_80`.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
