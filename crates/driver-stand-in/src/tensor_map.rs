//! `cuTensorMapEncodeTiled`: the rules of the manual, and the 128 bytes that stand for a map here.

use crate::codes::{Code, Result};
use kernel_emulator::TensorMap;

/// Bytes of a `CUtensorMap`.
pub const BYTES: usize = 128;

/// Stands behind the map's fields, so that bytes that are none are refused.
const MAGIC: u64 = 0x7061_6d72_6f73_6e65;

/// A request: the function's arguments, arrays by value, entries beyond the rank 0.
#[derive(Clone, Debug)]
pub struct Request {
    pub data_type: u32,
    pub rank: u32,
    pub address: u64,
    pub dims: [u64; 5],
    pub byte_strides: [u64; 4],
    pub box_dims: [u32; 5],
    pub element_strides: [u32; 5],
    pub interleave: u32,
    pub swizzle: u32,
    pub fill: u32,
}

/// Bytes of an element, by `CUtensorMapDataType`.
const ELEMENT_BYTES: [u64; 13] = [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4];
/// Widths of the swizzles in bytes, by `CUtensorMapSwizzle`; without one there is no limit.
const SWIZZLE_BYTES: [u64; 4] = [u64::MAX, 32, 64, 128];

/// Makes a map.
///
/// # Errors
/// `ERROR_INVALID_VALUE` for what the manual forbids, `ERROR_NOT_SUPPORTED` for what the emulator cannot do.
pub fn encode(request: &Request) -> Result<[u8; BYTES]> {
    let Request { rank, address, dims, byte_strides, box_dims, element_strides, .. } = request.clone();
    let used = 0..rank as usize;
    let allowed = |holds: bool| if holds { Ok(()) } else { Err(Code::ERROR_INVALID_VALUE) };
    allowed((1..=5).contains(&rank))?;
    let element_bytes = *ELEMENT_BYTES.get(request.data_type as usize).ok_or(Code::ERROR_INVALID_VALUE)?;
    let swizzle_bytes = *SWIZZLE_BYTES.get(request.swizzle as usize).ok_or(Code::ERROR_INVALID_VALUE)?;
    if request.interleave != 0 || request.fill != 0 || ![0, 3].contains(&request.swizzle) {
        return Err(Code::ERROR_NOT_SUPPORTED);
    }
    allowed(address.is_multiple_of(16))?;
    allowed(used.clone().all(|i| (1..=1 << 32).contains(&dims[i])))?;
    allowed(byte_strides[..rank as usize - 1].iter().all(|&s| s.is_multiple_of(16) && s < 1 << 40))?;
    allowed(used.clone().all(|i| (1..=256).contains(&box_dims[i])))?;
    allowed(used.clone().all(|i| (1..=8).contains(&element_strides[i])))?;
    let row_bytes = u64::from(box_dims[0]) * element_bytes;
    allowed(row_bytes.is_multiple_of(16) && row_bytes <= swizzle_bytes)?;
    if used.clone().any(|i| dims[i] > u64::from(u32::MAX)) {
        return Err(Code::ERROR_NOT_SUPPORTED);
    }

    let mut words: Vec<u32> = Vec::new();
    let long = |words: &mut Vec<u32>, value: u64| words.extend([value as u32, (value >> 32) as u32]);
    long(&mut words, address);
    (0..4).for_each(|i| long(&mut words, if i + 1 < rank as usize { byte_strides[i] } else { 0 }));
    let or_one = |i: usize, value: u32| if i < rank as usize { value } else { 1 };
    words.extend((0..5).map(|i| or_one(i, dims[i] as u32)));
    words.extend((0..5).map(|i| or_one(i, box_dims[i])));
    // The first is ignored where nothing is interleaved, says the manual.
    words.extend((0..5).map(|i| if i == 0 { 1 } else { or_one(i, element_strides[i]) }));
    words.extend([rank, element_bytes as u32, u32::from(request.swizzle == 3)]);
    long(&mut words, MAGIC);
    let mut bytes = [0; BYTES];
    bytes.chunks_mut(4).zip(&words).for_each(|(chunk, word)| chunk.copy_from_slice(&word.to_le_bytes()));
    Ok(bytes)
}

/// Reads a map; `None` for bytes that [`encode`] did not make.
pub fn decode(bytes: &[u8]) -> Option<TensorMap> {
    let word = |i: usize| Some(u32::from_le_bytes(bytes.get(4 * i..4 * i + 4)?.try_into().ok()?));
    let long = |i: usize| Some(u64::from(word(i)?) | u64::from(word(i + 1)?) << 32);
    let five =
        |first: usize| Some([word(first)?, word(first + 1)?, word(first + 2)?, word(first + 3)?, word(first + 4)?]);
    if bytes.len() != BYTES || long(28)? != MAGIC {
        return None;
    }
    Some(TensorMap {
        address: long(0)?,
        byte_strides: [long(2)?, long(4)?, long(6)?, long(8)?],
        dims: five(10)?,
        box_dims: five(15)?,
        element_strides: five(20)?,
        rank: word(25)?,
        element_bytes: word(26)?,
        swizzle_128: word(27)?,
    })
}

/// Bytes from the map's address to the end of its tensor.
pub fn extent(map: &TensorMap) -> usize {
    let outer = map.dims[1..].iter().zip(map.byte_strides).map(|(&n, stride)| u64::from(n - 1) * stride);
    (outer.sum::<u64>() + u64::from(map.dims[0]) * u64::from(map.element_bytes)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 channels of 8 x 8 pixels in bf16.
    fn images() -> Request {
        Request {
            data_type: 9,
            rank: 3,
            address: 256,
            dims: [64, 8, 8, 0, 0],
            byte_strides: [128, 1024, 0, 0],
            box_dims: [64, 4, 4, 0, 0],
            element_strides: [1, 2, 1, 0, 0],
            interleave: 0,
            swizzle: 3,
            fill: 0,
        }
    }

    #[test]
    fn a_map_is_read_as_it_was_made() {
        let map = decode(&encode(&images()).unwrap()).unwrap();
        assert_eq!((map.address, map.byte_strides, map.rank), (256, [128, 1024, 0, 0], 3));
        assert_eq!((map.dims, map.box_dims), ([64, 8, 8, 1, 1], [64, 4, 4, 1, 1]));
        assert_eq!((map.element_strides, map.element_bytes, map.swizzle_128), ([1, 2, 1, 1, 1], 2, 1));
        assert_eq!(extent(&map), 64 * 8 * 8 * 2);
        assert_eq!(decode(&[0; BYTES]), None);
    }

    #[test]
    fn what_the_manual_forbids_is_refused() {
        let faults: [fn(&mut Request); 9] = [
            |r| r.rank = 0,
            |r| r.rank = 6,
            |r| r.address = 264,
            |r| r.dims[1] = 0,
            |r| r.byte_strides[1] = 1000,
            |r| r.box_dims[1] = 257,
            |r| r.element_strides[1] = 9,
            |r| r.box_dims[0] = 4,
            |r| r.box_dims[0] = 128, // wider than the swizzle
        ];
        for (i, fault) in faults.iter().enumerate() {
            let mut request = images();
            fault(&mut request);
            assert_eq!(encode(&request), Err(Code::ERROR_INVALID_VALUE), "fault {i}");
        }
    }
}
