//! A tensor in global memory and the boxes that are copied of it.

/// Describes a tensor and its boxes, innermost dimension first: what `cuTensorMapEncodeTiled` is told. The 128 bytes of a
/// kernel's parameter hold it in a form of this machine's own, for the driver's is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub address: u64,
    pub element_bytes: u32,
    /// Elements of each of 1 to 5 dimensions.
    pub dims: Vec<u32>,
    /// Bytes from one index of each dimension but the first to the next.
    pub strides_bytes: Vec<u64>,
    pub box_dims: Vec<u32>,
    /// Steps between the elements of a box that are copied; that of the first dimension is not used.
    pub element_strides: Vec<u32>,
    /// Chunks of 16 bytes are swizzled within 128 bytes.
    pub swizzle_128: bool,
}

const MAGIC: u32 = 0x7470_616d;
/// Bytes that the swizzle leaves together.
const CHUNK: u32 = 16;

impl TensorMap {
    /// The bytes of a kernel's parameter.
    ///
    /// # Panics
    /// A number of dimensions that is not 1 to 5, or that differs between the fields.
    pub fn encode(&self) -> Vec<u8> {
        let rank = self.dims.len();
        assert!((1..=5).contains(&rank), "{rank} dimensions");
        assert!(
            self.strides_bytes.len() + 1 == rank && self.box_dims.len() == rank && self.element_strides.len() == rank
        );
        let flags = rank as u32 | self.element_bytes << 8 | u32::from(self.swizzle_128) << 16;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(self.address.to_le_bytes());
        for i in 0..5 {
            bytes.extend(self.dims.get(i).unwrap_or(&1).to_le_bytes());
            bytes.extend((*self.box_dims.get(i).unwrap_or(&1) as u16).to_le_bytes());
            bytes.extend((*self.element_strides.get(i).unwrap_or(&1) as u16).to_le_bytes());
        }
        for i in 0..4 {
            bytes.extend(self.strides_bytes.get(i).unwrap_or(&0).to_le_bytes());
        }
        bytes.resize(128, 0);
        bytes
    }

    /// Reads the bytes of a kernel's parameter.
    pub(crate) fn decode(bytes: &[u8]) -> Option<TensorMap> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let flags = u32_at(4)?;
        let rank = (flags & 255) as usize;
        if u32_at(0)? != MAGIC || !(1..=5).contains(&rank) {
            return None;
        }
        let of = |f: &dyn Fn(usize) -> Option<u32>| (0..rank).map(f).collect::<Option<Vec<u32>>>();
        Some(TensorMap {
            address: u64_at(8)?,
            element_bytes: flags >> 8 & 255,
            dims: of(&|i| u32_at(16 + 8 * i))?,
            box_dims: of(&|i| Some(u32_at(20 + 8 * i)? & 0xffff))?,
            element_strides: of(&|i| Some(u32_at(20 + 8 * i)? >> 16))?,
            strides_bytes: (0..rank - 1).map(|i| u64_at(56 + 8 * i)).collect::<Option<_>>()?,
            swizzle_128: flags >> 16 & 1 == 1,
        })
    }

    /// Elements of the box in shared memory.
    fn extent(&self, dim: usize) -> u32 {
        let step = if dim == 0 { 1 } else { self.element_strides[dim] };
        self.box_dims[dim].div_ceil(step)
    }

    pub(crate) fn box_bytes(&self) -> u32 {
        (0..self.dims.len()).map(|dim| self.extent(dim)).product::<u32>() * self.element_bytes
    }

    /// Checks coordinates and the box's place in shared memory.
    pub(crate) fn check(&self, coordinates: usize, address: u32) -> Result<(), String> {
        if coordinates != self.dims.len() {
            return Err(format!("{coordinates} coordinates for a tensor map of {} dimensions", self.dims.len()));
        }
        let row = self.extent(0) * self.element_bytes;
        if self.swizzle_128 && row != 128 {
            return Err(format!("with the 128-byte swizzle, a box's rows are 128 bytes, not {row}"));
        }
        if !row.is_multiple_of(CHUNK) {
            return Err(format!("a box's rows are multiples of {CHUNK} bytes, not {row}"));
        }
        let alignment = if self.swizzle_128 { 1024 } else { 128 };
        if !address.is_multiple_of(alignment) {
            return Err(format!("the box at shared address {address:#x} is not aligned to {alignment} bytes"));
        }
        Ok(())
    }

    /// Calls `chunk(shared address, global address, begin, end)` for every 16 bytes of the box: of these, the bytes from
    /// `begin` to `end` lie inside the tensor. The global address is that of the chunk's first byte.
    pub(crate) fn chunks(
        &self,
        corner: &[i32],
        mut address: u32,
        mut chunk: impl FnMut(u32, u64, usize, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        let row_bytes = self.extent(0) * self.element_bytes;
        let first = i64::from(corner[0]) * i64::from(self.element_bytes);
        let last = i64::from(self.dims[0]) * i64::from(self.element_bytes);
        let mut index = vec![0u32; self.dims.len()];
        loop {
            let mut row = (self.address as i64).wrapping_add(first);
            let mut inside = true;
            for dim in 1..self.dims.len() {
                let c = i64::from(corner[dim]) + i64::from(index[dim] * self.element_strides[dim]);
                inside &= (0..i64::from(self.dims[dim])).contains(&c);
                row = row.wrapping_add(c.wrapping_mul(self.strides_bytes[dim - 1] as i64));
            }
            for byte in (0..row_bytes).step_by(CHUNK as usize) {
                let before = first + i64::from(byte);
                let begin = (-before).clamp(0, CHUNK.into());
                let end = if inside { (last - before).clamp(0, CHUNK.into()) } else { 0 };
                let at = if self.swizzle_128 { address ^ (address >> 7 & 7) << 4 } else { address };
                chunk(at, row.wrapping_add(byte.into()) as u64, begin as usize, end as usize)?;
                address += CHUNK;
            }
            let mut dim = 1;
            loop {
                if dim == self.dims.len() {
                    return Ok(());
                }
                index[dim] += 1;
                if index[dim] < self.extent(dim) {
                    break;
                }
                index[dim] = 0;
                dim += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_survives_its_encoding() {
        let map = TensorMap {
            address: 0x0012_3456_7800,
            element_bytes: 2,
            dims: vec![64, 33, 7, 2],
            strides_bytes: vec![128, 4224, 29568],
            box_dims: vec![64, 8, 4, 1],
            element_strides: vec![1, 2, 2, 1],
            swizzle_128: true,
        };
        assert_eq!(map.encode().len(), 128);
        assert_eq!(TensorMap::decode(&map.encode()), Some(map));
        assert_eq!(TensorMap::decode(&[0; 128]), None);
    }
}
