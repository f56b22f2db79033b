//! The kinds of device as a tape sees them.

use super::Capability;

/// Kind of device for which a tape is recorded: it decides which scratch memory and which kernels an op takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Plain Rust, f32.
    Cpu,
    /// Kernels, on a GPU or emulated, and the instructions that they may use.
    Gpu(Capability),
}

impl Backend {
    /// Instructions that kernels may use; the fewest on the CPU, which runs none.
    pub fn capability(self) -> Capability {
        match self {
            Backend::Cpu => Capability::Ampere,
            Backend::Gpu(capability) => capability,
        }
    }
}
