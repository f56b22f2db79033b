//! Tensor maps: descriptions of the boxes that the tensor copies of Hopper's kernels move (`TensorMap` in `kernels/common/hopper.cuh`).

use crate::engine::tensor::DType;

/// Most dimensions of a tensor map.
pub const MAX_RANK: usize = 5;

/// A box of a tensor in global memory that one copy moves. The map gives the shape of the box, a kernel its position. Dimensions
/// count from the innermost outwards.
///
/// Where a box reaches over the tensor's edge, loads give zeros and stores write nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Element type.
    pub dtype: DType,
    /// Number of dimensions, 1 to 5.
    pub rank: usize,
    /// Elements of the tensor along each dimension; 1 beyond the rank, as in all that follow.
    pub dims: [usize; MAX_RANK],
    /// Elements from one index of a dimension to the next. The innermost is 1.
    pub strides: [usize; MAX_RANK],
    /// Elements of the tensor that the box covers along each dimension, at most 256.
    pub box_dims: [usize; MAX_RANK],
    /// Steps between the indices that are moved along each dimension, 1 to 8: `box_dims` of 16 and a step of 2 move 8
    /// elements. The innermost is 1.
    pub element_strides: [usize; MAX_RANK],
    /// True if the box lies in shared memory with the 128-byte swizzle, as operands of warpgroup products do. Its rows must
    /// then be 128 bytes: shared memory holds the swizzle's full width of each ("Swizzle modes" in the CUDA C++
    /// programming guide).
    pub swizzle_128: bool,
}

impl TensorMap {
    /// Boxes of a contiguous tensor, every element moved, no swizzle. Both shapes from the innermost dimension outwards.
    pub fn new(dtype: DType, dims: &[usize], box_dims: &[usize]) -> TensorMap {
        assert!(
            dims.len() == box_dims.len() && (1..=MAX_RANK).contains(&dims.len()),
            "{dims:?} in boxes of {box_dims:?}"
        );
        let fixed = |values: &[usize]| {
            let mut all = [1; MAX_RANK];
            all[..values.len()].copy_from_slice(values);
            all
        };
        let mut strides = [1; MAX_RANK];
        for i in 1..dims.len() {
            strides[i] = strides[i - 1] * dims[i - 1];
        }
        TensorMap {
            dtype,
            rank: dims.len(),
            dims: fixed(dims),
            strides,
            box_dims: fixed(box_dims),
            element_strides: [1; MAX_RANK],
            swizzle_128: false,
        }
    }

    /// With other distances, in elements, between the indices of the dimensions after the innermost.
    pub fn strides(mut self, outer: &[usize]) -> TensorMap {
        assert_eq!(outer.len() + 1, self.rank, "strides of the dimensions after the innermost");
        self.strides[1..self.rank].copy_from_slice(outer);
        self
    }

    /// With these steps between the indices that are moved along each dimension.
    pub fn element_strides(mut self, steps: &[usize]) -> TensorMap {
        assert_eq!(steps.len(), self.rank, "a step for each dimension");
        self.element_strides[..self.rank].copy_from_slice(steps);
        self
    }

    /// With the 128-byte swizzle.
    pub fn swizzle_128(mut self) -> TensorMap {
        self.swizzle_128 = true;
        self
    }

    /// Bytes of a box in shared memory, which is what its copy announces to a barrier.
    pub fn box_bytes(&self) -> usize {
        let moved = self.box_dims.iter().zip(&self.element_strides).map(|(&n, &step)| n.div_ceil(step));
        moved.product::<usize>() * self.dtype.bytes()
    }

    /// Bytes from one index of each dimension after the innermost to the next.
    pub(super) fn byte_strides(&self) -> [u64; MAX_RANK - 1] {
        std::array::from_fn(|i| (self.strides[i + 1] * self.dtype.bytes()) as u64)
    }

    /// Checks that the hardware can copy such boxes from a tensor of `bytes` bytes at `address` and stays inside it; an
    /// error message if not.
    pub(super) fn check(&self, address: u64, bytes: usize) -> Result<(), String> {
        let require = |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("{what}: {self:?}")) };
        let used = 0..self.rank;
        let last: usize = used.clone().map(|i| (self.dims[i].max(1) - 1) * self.strides[i]).sum();
        let inner_bytes = self.box_dims[0] * self.dtype.bytes();
        require((1..=MAX_RANK).contains(&self.rank), "a rank of 1 to 5 is needed")?;
        require(address.is_multiple_of(16), "a tensor map's tensor must be aligned to 16 bytes")?;
        require(used.clone().all(|i| (1..=u32::MAX as usize).contains(&self.dims[i])), "dimensions of 1 to 2^32 - 1")?;
        require(self.strides[0] == 1 && self.element_strides[0] == 1, "the innermost dimension must be contiguous")?;
        let strides = self.byte_strides();
        require(
            strides[..self.rank - 1].iter().all(|&s| s.is_multiple_of(16) && s < 1 << 40),
            "strides must be multiples of 16 bytes below 2^40",
        )?;
        require(used.clone().all(|i| (1..=256).contains(&self.box_dims[i])), "boxes cover 1 to 256 of each dimension")?;
        require(used.clone().all(|i| (1..=8).contains(&self.element_strides[i])), "element strides are 1 to 8")?;
        require(inner_bytes.is_multiple_of(16), "a box's rows must be multiples of 16 bytes")?;
        require(!self.swizzle_128 || inner_bytes == 128, "with the swizzle, a box's rows are 128 bytes")?;
        require((last + 1) * self.dtype.bytes() <= bytes, &format!("the tensor has only {bytes} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_the_hardware_refuses_or_that_leave_the_tensor_are_errors() {
        let images = TensorMap::new(DType::Bf16, &[64, 8, 8, 2], &[64, 8, 8, 1]).swizzle_128();
        let bytes = 64 * 8 * 8 * 2 * 2;
        assert_eq!(images.check(256, bytes), Ok(()));
        assert_eq!(images.box_bytes(), 64 * 64 * 2);
        assert_eq!(images.element_strides(&[1, 2, 2, 1]).box_bytes(), 64 * 16 * 2);
        assert_eq!(images.strides(&[128, 1024, 8192]).check(256, 2 * 2 * 8192 - 128), Ok(()));
        let refused = |map: TensorMap, address, bytes, wanted: &str| {
            let message = map.check(address, bytes).expect_err(wanted);
            assert!(message.contains(wanted), "{message}");
        };
        refused(images, 256, bytes - 1, "the tensor has only");
        refused(images, 8, bytes, "aligned to 16");
        refused(images.strides(&[65, 512, 4096]), 256, 2 * bytes, "multiples of 16 bytes");
        refused(images.element_strides(&[1, 9, 1, 1]), 256, bytes, "element strides");
        for elements in [32, 128] {
            let map = TensorMap::new(DType::Bf16, &[128, 8], &[elements, 8]);
            refused(map.swizzle_128(), 256, 2048, "rows are 128 bytes");
            assert_eq!(map.check(256, 2048), Ok(()));
        }
        refused(TensorMap::new(DType::Bf16, &[64, 512], &[64, 512]), 256, 1 << 20, "1 to 256");
        refused(TensorMap::new(DType::Bf16, &[64, 8], &[4, 8]), 256, 1024, "rows must be multiples");
    }
}
