//! Kernel launches as data: an op emits them once, a session resolves tensors to addresses and replays the list.

use crate::engine::device::{Capability, MULTIPROCESSORS, TensorMap};
use crate::engine::tape::declaration::Declaration;
use crate::engine::tape::geometry::{THREADS, flat};
use crate::engine::tensor::{DType, Tensor};
use crate::{Error, Result};

/// One kernel argument.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A pointer to a tensor's first element; null for [`Tensor::EMPTY`].
    Tensor(Tensor),
    /// Boxes of a tensor, for kernels that copy them as such (Hopper).
    TensorMap(Tensor, TensorMap),
    I32(i32),
    U32(u32),
    U64(u64),
    F32(f32),
    /// A struct by value: pointers and numbers, its fields in order.
    Struct(Vec<Arg>),
}

impl From<Tensor> for Arg {
    fn from(t: Tensor) -> Arg {
        Arg::Tensor(t)
    }
}
impl From<i32> for Arg {
    fn from(v: i32) -> Arg {
        Arg::I32(v)
    }
}
impl From<u32> for Arg {
    fn from(v: u32) -> Arg {
        Arg::U32(v)
    }
}
impl From<u64> for Arg {
    fn from(v: u64) -> Arg {
        Arg::U64(v)
    }
}
impl From<f32> for Arg {
    fn from(v: f32) -> Arg {
        Arg::F32(v)
    }
}
/// Dimensions are passed as `int`.
impl From<usize> for Arg {
    fn from(v: usize) -> Arg {
        Arg::I32(i32::try_from(v).expect("a kernel dimension fits an int"))
    }
}

/// Blocks that CUDA allows along x, y and z of a grid.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

/// A kernel, its geometry and its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub smem_bytes: u32,
    pub args: Vec<Arg>,
    /// Fraction of the tiled area that is useful work; none where a kernel has no tiles. Turns of persistent blocks
    /// without a tile count as waste.
    pub tile_efficiency: Option<f64>,
}

impl Launch {
    /// Blocks in x, y, z.
    pub fn grid(&mut self, grid: [usize; 3]) -> &mut Launch {
        self.grid = grid.map(|g| u32::try_from(g).expect("a grid dimension fits 32 bits"));
        self
    }

    /// Threads per block.
    pub fn block(&mut self, threads: usize) -> &mut Launch {
        self.block = threads as u32;
        self
    }

    /// Dynamic shared memory in bytes.
    pub fn smem(&mut self, bytes: usize) -> &mut Launch {
        self.smem_bytes = bytes as u32;
        self
    }

    /// Sets [`Launch::tile_efficiency`] of blocks that each compute a square of this side of a matrix of `rows` and
    /// `columns`: what lies beyond its edges is waste. The grid is set before.
    pub fn tiles(&mut self, side: usize, rows: usize, columns: usize) -> &mut Launch {
        let spanned = self.grid[0] as usize * self.grid[1] as usize * side * side;
        self.useful((rows * columns) as f64 / spanned as f64)
    }

    /// Sets [`Launch::tile_efficiency`].
    pub fn useful(&mut self, part: f64) -> &mut Launch {
        self.tile_efficiency = Some(part);
        self
    }

    /// Adds all operands of an op to the arguments, as declared.
    pub fn operands(&mut self, op: &dyn Declaration) -> &mut Launch {
        self.args.extend(op.operands().into_iter().map(|(_, tensor)| Arg::Tensor(tensor)));
        self
    }

    /// Geometry and last argument of a kernel of `n` elements that `kernels/common/elementwise.cuh` shares out: 8 for a
    /// thread, which is 16 bytes of bf16.
    pub fn elementwise(&mut self, n: usize) -> &mut Launch {
        self.grid(flat(n, 8)).with([n as u64])
    }

    /// Adds arguments. A kernel's order is: outputs, inputs, saved values, dimensions, scalars.
    pub fn with<const N: usize>(&mut self, args: [impl Into<Arg>; N]) -> &mut Launch {
        self.args.extend(args.map(Into::into));
        self
    }

    /// Checks that a GPU takes a grid of this size.
    ///
    /// # Errors
    /// The dimension that is too large, in the name of the op `op`.
    pub(super) fn check_grid(&self, op: &'static str) -> Result<()> {
        for ((axis, blocks), most) in ['x', 'y', 'z'].into_iter().zip(self.grid).zip(MOST_BLOCKS) {
            if blocks > most {
                return Err(Error::Grid { op, axis, blocks, most, advice: String::new() });
            }
        }
        Ok(())
    }
}

/// The launches that ops emit, in order.
#[derive(Debug)]
pub struct Launches {
    capability: Capability,
    multiprocessors: usize,
    pub(crate) list: Vec<Launch>,
}

impl Launches {
    /// For the device that launches are planned for, which has [`MULTIPROCESSORS`].
    pub(crate) fn new(capability: Capability) -> Launches {
        Launches { capability, multiprocessors: MULTIPROCESSORS, list: Vec::new() }
    }

    /// For a device with so many multiprocessors.
    pub(crate) fn on(self, multiprocessors: usize) -> Launches {
        Launches { multiprocessors, ..self }
    }

    /// Instructions that the kernels may use, as for the tape on which the op was recorded.
    pub fn capability(&self) -> Capability {
        self.capability
    }

    /// Grid of persistent blocks, of which `wanted` have work: as many as run at once, in whole clusters. A result that
    /// depended on their number would differ from one device to the next.
    pub fn persistent(&self, wanted: usize, cluster: usize) -> [usize; 3] {
        [wanted.min((self.multiprocessors / cluster).max(1) * cluster), 1, 1]
    }

    /// Fraction of the multiprocessors' turns that have a tile to compute.
    pub fn wave_efficiency(&self, tiles: usize) -> f64 {
        tiles as f64 / tiles.next_multiple_of(self.multiprocessors) as f64
    }

    /// Adds a launch of the kernel `name` for the storage type `dtype`: `silu_fwd` becomes `silu_fwd_bf16`.
    pub fn kernel(&mut self, name: &str, dtype: DType) -> &mut Launch {
        self.kernel_named(&format!("{name}_{}", dtype.suffix()))
    }

    /// Adds a launch of the kernel that has the op's name, for the storage type `dtype`, with all operands as arguments.
    pub fn kernel_of(&mut self, op: &dyn Declaration, dtype: DType) -> &mut Launch {
        self.kernel(op.name(), dtype).operands(op)
    }

    /// Adds a launch of a kernel by its whole name.
    pub fn kernel_named(&mut self, name: &str) -> &mut Launch {
        self.list.push(Launch {
            kernel: name.into(),
            grid: [1; 3],
            block: THREADS as u32,
            smem_bytes: 0,
            args: Vec::new(),
            tile_efficiency: None,
        });
        self.list.last_mut().expect("just pushed")
    }
}
