//! A launch as the emulator takes it.

/// One launch of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Exported name of the kernel.
    pub kernel: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: usize,
    /// Arguments in the kernel's order.
    pub arguments: &'a [Argument],
}

/// One argument of a launch.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A pointer, and the number of bytes behind it that the kernel may touch. Address 0 is a null pointer.
    Pointer {
        /// Address in a [`Memory`](crate::Memory).
        address: u64,
        /// Bytes that the kernel may touch.
        bytes: usize,
    },
    /// A 32-bit integer, signed or not.
    Int32(u32),
    /// A 64-bit integer, signed or not.
    Int64(u64),
    /// A float.
    Float(f32),
    /// A tensor map, and the number of bytes at its address that the kernel may touch.
    TensorMap {
        /// The map.
        map: TensorMap,
        /// Bytes that the kernel may touch.
        bytes: usize,
    },
    /// A struct by value.
    Struct {
        /// The struct as it lies in memory.
        value: Vec<u8>,
        /// Addresses of the pointers in it, with the bytes behind each that the kernel may touch.
        pointers: Vec<(u64, usize)>,
    },
}

/// Type of a kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A pointer.
    Pointer,
    /// A 32-bit integer, signed or not.
    Int32,
    /// A 64-bit integer, signed or not.
    Int64,
    /// A float.
    Float,
    /// A tensor map.
    TensorMap,
    /// A struct by value of so many bytes.
    Struct(usize),
}

impl Parameter {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Parameter::Pointer | Parameter::Int64 => 8,
            Parameter::Int32 | Parameter::Float => 4,
            Parameter::TensorMap => size_of::<TensorMap>(),
            Parameter::Struct(bytes) => bytes,
        }
    }
}

impl Argument {
    /// Lists the memory that the argument lets a kernel touch: addresses and bytes.
    pub(crate) fn extents(&self) -> Vec<(u64, usize)> {
        match *self {
            Argument::Pointer { address, bytes } if address != 0 => vec![(address, bytes)],
            Argument::TensorMap { ref map, bytes } => vec![(map.address, bytes)],
            Argument::Struct { ref pointers, .. } => pointers.clone(),
            _ => Vec::new(),
        }
    }
}

/// A box of a tensor that one copy moves, in the layout of the type `TensorMap` of `include/emulator/cuda_types.h`.
/// Dimensions count from the innermost outwards, and those beyond the rank are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(128))]
pub struct TensorMap {
    /// Address of the tensor.
    pub address: u64,
    /// Bytes from one index to the next, of the dimensions after the innermost.
    pub byte_strides: [u64; 4],
    /// Elements of the tensor.
    pub dims: [u32; 5],
    /// Elements of the box.
    pub box_dims: [u32; 5],
    /// Step between the elements of the box that are moved.
    pub element_strides: [u32; 5],
    /// Number of dimensions.
    pub rank: u32,
    /// Bytes of an element.
    pub element_bytes: u32,
    /// 1 if the box lies in shared memory with the 128-byte swizzle, else 0.
    pub swizzle_128: u32,
}
