//! Kernel arguments as the driver takes them: addresses of values.

use crate::engine::device::TensorMap;
use crate::engine::device::driver::KernelArg;
use crate::engine::tensor::DType;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys;

/// An encoded map, aligned as CUDA 13 declares it and `kernels/common/hopper.cuh` has it; CUDA 12 has half of that.
#[repr(C, align(128))]
pub(super) struct EncodedMap(sys::CUtensorMap);

const _: () = assert!(size_of::<EncodedMap>() == 128);

/// Value of an argument, to which its address points.
pub(super) enum Value {
    /// Its bits, in the low bytes.
    Word(u64),
    Map(Box<EncodedMap>),
    /// Its bytes.
    Struct(Vec<u8>),
}

pub(super) fn encode(arg: &KernelArg) -> Result<Value, DriverError> {
    Ok(Value::Word(match *arg {
        KernelArg::Pointer { address, .. } => address,
        KernelArg::I32(value) => u64::from(value as u32),
        KernelArg::U32(value) => u64::from(value),
        KernelArg::U64(value) => value,
        KernelArg::F32(value) => u64::from(value.to_bits()),
        KernelArg::TensorMap { address, map, .. } => return encode_map(address, &map).map(Value::Map),
        KernelArg::Struct(ref fields) => return Ok(Value::Struct(KernelArg::struct_bytes(fields))),
    }))
}

fn encode_map(address: u64, map: &TensorMap) -> Result<Box<EncodedMap>, DriverError> {
    use sys::CUtensorMapDataType_enum as Type;
    let data_type = match map.dtype {
        DType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::Bf16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::I32 => Type::CU_TENSOR_MAP_DATA_TYPE_INT32,
    };
    let swizzle = match map.swizzle_128 {
        true => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
        false => sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_NONE,
    };
    let byte_strides = map.byte_strides();
    let (dims, box_dims) = (map.dims.map(|n| n as u64), map.box_dims.map(|n| n as u32));
    let element_strides = map.element_strides.map(|n| n as u32);
    let mut encoded = Box::new(EncodedMap(sys::CUtensorMap { opaque: [0; 16] }));
    // SAFETY: the arrays have an entry for each of at most five dimensions, and `encoded` is as large and aligned as the
    // driver wants it. The address is recorded, not read.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut encoded.0,
            data_type,
            map.rank as u32,
            std::ptr::without_provenance_mut(address as usize),
            dims.as_ptr(),
            byte_strides.as_ptr(),
            box_dims.as_ptr(),
            element_strides.as_ptr(),
            sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()?;
    Ok(encoded)
}

/// Size of the kernel's parameter.
pub(super) fn bytes_of(arg: &KernelArg) -> usize {
    match arg {
        KernelArg::Pointer { .. } | KernelArg::U64(_) => 8,
        KernelArg::I32(_) | KernelArg::U32(_) | KernelArg::F32(_) => 4,
        KernelArg::TensorMap { .. } => size_of::<EncodedMap>(),
        KernelArg::Struct(fields) => KernelArg::struct_bytes(fields).len(),
    }
}
