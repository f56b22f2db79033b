//! Tensor handles: a shape, an element type and a place in memory. The bytes themselves belong to a
//! [`Session`](crate::engine::tape::Session); a handle is small and `Copy`, so ops store theirs by value.

use std::fmt;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: the only type of the CPU device, and of weights, statistics and losses everywhere.
    F32,
    /// bfloat16: activations and weight copies on a GPU.
    Bf16,
    /// 32-bit integer: labels and random-number state.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::Bf16 => 2,
        }
    }

    /// The suffix of a kernel's name that works on this type: `silu_fwd_bf16`.
    pub fn suffix(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
        }
    }
}

/// Where a tensor's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// An absent optional argument.
    Nowhere,
    /// A byte offset in the persistent region: weights, gradients, optimiser state, inputs.
    Persistent(u64),
    /// An intermediate of one tape, numbered; the plan gives it an offset in the arena.
    Arena(u32),
    /// A byte offset among the counters that kernels leave at zero.
    Counters(u64),
    /// No place of its own, numbered: a name for what other tensors hold.
    Unstored(u32),
}

/// Most dimensions a tensor has: `[n, h, w, c]`.
pub const MAX_RANK: usize = 4;

/// A handle to a contiguous row-major tensor of at most [`MAX_RANK`] dimensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    pub(crate) place: Place,
    dtype: DType,
    dims: [u32; MAX_RANK],
    rank: u8,
}

impl Tensor {
    /// An absent optional tensor: a null pointer for a kernel, an empty slice on the CPU.
    pub const EMPTY: Tensor = Tensor { place: Place::Nowhere, dtype: DType::F32, dims: [0; MAX_RANK], rank: 1 };

    pub(crate) fn new(place: Place, dims: &[usize], dtype: DType) -> Tensor {
        assert!((1..=MAX_RANK).contains(&dims.len()), "a tensor has 1 to {MAX_RANK} dimensions, not {dims:?}");
        let mut fixed = [1; MAX_RANK];
        for (slot, &dim) in fixed.iter_mut().zip(dims) {
            *slot = u32::try_from(dim).expect("a dimension fits 32 bits");
        }
        Tensor { place, dtype, dims: fixed, rank: dims.len() as u8 }
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> Vec<usize> {
        self.dims[..self.rank as usize].iter().map(|&d| d as usize).collect()
    }

    /// Dimension `axis`, counted from the outermost.
    pub fn dim(&self, axis: usize) -> usize {
        assert!(axis < self.rank as usize, "axis {axis} of a tensor of rank {}", self.rank);
        self.dims[axis] as usize
    }

    /// The innermost dimension: channels of an activation.
    pub fn last_dim(&self) -> usize {
        self.dim(self.rank as usize - 1)
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements; 0 for [`Tensor::EMPTY`].
    pub fn numel(&self) -> usize {
        self.dims[..self.rank as usize].iter().map(|&d| d as usize).product()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.numel() * self.dtype.bytes()
    }

    /// True of [`Tensor::EMPTY`].
    pub fn is_empty(&self) -> bool {
        self.place == Place::Nowhere
    }

    /// True if the tensor has bytes of its own: it is neither absent nor a name for what
    /// [other tensors](crate::engine::ops::concat::Joined) hold.
    pub fn is_stored(&self) -> bool {
        !matches!(self.place, Place::Nowhere | Place::Unstored(_))
    }

    /// The same bytes seen with other dimensions of the same product.
    pub fn reshape(&self, dims: &[usize]) -> Tensor {
        let view = Tensor::new(self.place, dims, self.dtype);
        assert_eq!(view.numel(), self.numel(), "reshape of {self:?} to {dims:?}");
        view
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.place {
            Place::Nowhere => write!(f, "absent"),
            Place::Persistent(_) => write!(f, "{}{:?}", self.dtype.suffix(), self.dims()),
            Place::Arena(i) => write!(f, "%{i}:{}{:?}", self.dtype.suffix(), self.dims()),
            Place::Counters(at) => write!(f, "#{at}:{}{:?}", self.dtype.suffix(), self.dims()),
            Place::Unstored(i) => write!(f, "&{i}:{}{:?}", self.dtype.suffix(), self.dims()),
        }
    }
}

/// Every tensor starts at a multiple of this many bytes: whole cache lines, and the alignment that 16-byte
/// accesses and bulk copies need.
pub const ALIGN_BYTES: u64 = 256;

/// Lays out the persistent region: what outlives a step. Nothing is allocated before a
/// [`Session`](crate::engine::tape::Session) takes the layout.
#[derive(Debug, Default)]
pub struct Store {
    bytes: u64,
}

impl Store {
    /// An empty region.
    pub fn new() -> Store {
        Store::default()
    }

    /// Reserves a tensor. It is zero until it is written.
    pub fn tensor(&mut self, dims: &[usize], dtype: DType) -> Tensor {
        let tensor = Tensor::new(Place::Persistent(self.bytes), dims, dtype);
        self.bytes += (tensor.bytes() as u64).next_multiple_of(ALIGN_BYTES);
        tensor
    }

    /// A part of a flat tensor as a tensor of its own: `dims` from element `first` on.
    pub fn slice(whole: Tensor, first: usize, dims: &[usize]) -> Tensor {
        let Place::Persistent(offset) = whole.place else { panic!("slice of {whole:?}, which is not persistent") };
        let part = Tensor::new(Place::Persistent(offset + (first * whole.dtype.bytes()) as u64), dims, whole.dtype);
        assert!(first + part.numel() <= whole.numel(), "slice {first}..+{dims:?} of {whole:?}");
        part
    }

    /// The first `n` of what the outermost dimension of a tensor counts, such as images.
    pub fn first(whole: Tensor, n: usize) -> Tensor {
        let mut dims = whole.dims();
        dims[0] = n;
        Store::slice(whole, 0, &dims)
    }

    /// Size of the region so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
