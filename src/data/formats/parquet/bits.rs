//! Packed integers: runs of equal or bit-packed values, and differences with blocks of bit widths.

use super::thrift::Parsed;

/// The widest bit-packed value.
const MOST_WIDTH: u32 = 64;

/// Reads `width` bits from the bit `at` on, the lowest bit first.
fn packed(bytes: &[u8], at: usize, width: u32) -> Parsed<u64> {
    let first = at / 8;
    let count = (at % 8 + width as usize).div_ceil(8);
    let bytes = bytes.get(first..first + count).ok_or("its packed values end early")?;
    let window = bytes.iter().rev().fold(0u128, |window, &byte| window << 8 | u128::from(byte));
    Ok((window >> (at % 8)) as u64 & (u64::MAX.checked_shr(MOST_WIDTH - width).unwrap_or(0)))
}

fn varint(bytes: &mut &[u8]) -> Parsed<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("its packed values end early")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".into())
}

/// Reads an integer whose sign is its lowest bit.
fn zigzag(bytes: &mut &[u8]) -> Parsed<i64> {
    let value = varint(bytes)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Parsed<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or("its packed values end early")?;
    *bytes = rest;
    Ok(taken)
}

/// Runs of equal values, and runs of values of `width` bits: levels, and places in a dictionary.
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    width: u32,
    left: u64,
    run: Run<'a>,
}

enum Run<'a> {
    Equal(u32),
    /// Packed values, and the bit at which the next one begins.
    Packed(&'a [u8], usize),
}

impl<'a> Runs<'a> {
    /// Values of at most 32 bits.
    pub fn new(bytes: &'a [u8], width: u32) -> Parsed<Runs<'a>> {
        if width > 32 {
            return Err(format!("its packed values have {width} bits"));
        }
        Ok(Runs { bytes, width, left: 0, run: Run::Equal(0) })
    }

    pub fn next(&mut self) -> Parsed<u32> {
        while self.left == 0 {
            self.next_run()?;
        }
        self.left -= 1;
        match &mut self.run {
            Run::Equal(value) => Ok(*value),
            Run::Packed(bytes, at) => {
                let value = packed(bytes, *at, self.width)?;
                *at += self.width as usize;
                Ok(value as u32)
            }
        }
    }

    fn next_run(&mut self) -> Parsed<()> {
        let header = varint(&mut self.bytes)?;
        self.left = header >> 1;
        self.run = if header & 1 == 1 {
            // Groups of eight values; of the last one some writers leave out the end.
            let length = self.left.saturating_mul(self.width.into());
            self.left = self.left.saturating_mul(8);
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.bytes.len());
            Run::Packed(take(&mut self.bytes, length)?, 0)
        } else {
            let bytes = take(&mut self.bytes, self.width.div_ceil(8) as usize)?;
            Run::Equal(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
        };
        Ok(())
    }
}

/// Integers as differences from one to the next (DELTA_BINARY_PACKED).
pub(super) struct Differences<'a> {
    bytes: &'a [u8],
    /// Values of a miniblock, and miniblocks of a block.
    in_mini: usize,
    minis: usize,
    left: u64,
    value: i64,
    least: i64,
    widths: &'a [u8],
    /// The next miniblock, and the next value in the one that is being read.
    mini: usize,
    place: usize,
    packed: &'a [u8],
}

impl<'a> Differences<'a> {
    pub fn new(mut bytes: &'a [u8]) -> Parsed<Differences<'a>> {
        /// Values of the largest block; writers use 128.
        const MOST_IN_BLOCK: u64 = 1 << 20;
        let [block, minis, left] = [varint(&mut bytes)?, varint(&mut bytes)?, varint(&mut bytes)?];
        let value = zigzag(&mut bytes)?;
        if block > MOST_IN_BLOCK || minis == 0 || block % minis != 0 || !(block / minis).is_multiple_of(8) || block == 0
        {
            return Err(format!("its differences lie in blocks of {block} with {minis} parts"));
        }
        let (in_mini, minis) = ((block / minis) as usize, minis as usize);
        Ok(Differences {
            bytes,
            in_mini,
            minis,
            left,
            value,
            least: 0,
            widths: &[],
            mini: minis,
            place: in_mini,
            packed: &[],
        })
    }

    pub fn next(&mut self) -> Parsed<i64> {
        let value = self.value;
        self.left = self.left.checked_sub(1).ok_or("it has fewer values than it promises")?;
        if self.left > 0 {
            let difference = self.next_packed()? as i64;
            self.value = value.wrapping_add(self.least).wrapping_add(difference);
        }
        Ok(value)
    }

    /// Passes over the values that are left; what follows them.
    pub fn rest(mut self) -> Parsed<&'a [u8]> {
        while self.left > 0 {
            self.next()?;
        }
        Ok(self.bytes)
    }

    fn next_packed(&mut self) -> Parsed<u64> {
        if self.place == self.in_mini {
            if self.mini == self.minis {
                self.least = zigzag(&mut self.bytes)?;
                self.widths = take(&mut self.bytes, self.minis)?;
                self.mini = 0;
            }
            let width = u32::from(self.widths[self.mini]);
            if width > MOST_WIDTH {
                return Err(format!("its packed values have {width} bits"));
            }
            self.packed = take(&mut self.bytes, self.in_mini / 8 * width as usize)?;
            self.mini += 1;
            self.place = 0;
        }
        let width = u32::from(self.widths[self.mini - 1]);
        let value = packed(self.packed, self.place * width as usize, width);
        self.place += 1;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's description: 0 to 7 in three bits.
    #[test]
    fn runs_are_packed_or_equal() {
        let mut runs = Runs::new(&[0x03, 0x88, 0xc6, 0xfa, 0x0a, 0x05], 3).unwrap();
        let values: Vec<u32> = (0..13).map(|_| runs.next().unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7, 5, 5, 5, 5, 5]);
        assert!(runs.next().is_err());
        let mut none = Runs::new(&[0x08], 0).unwrap();
        assert_eq!([(); 4].map(|()| none.next().unwrap()), [0; 4]);
        assert!(Runs::new(&[], 33).is_err());
    }

    /// The examples of the format's description, in blocks of 128 values with 4 parts.
    #[test]
    fn differences_add_up() {
        // 1, 2, 3, 4, 5: all differences are 1, in 0 bits.
        let equal = [0x80, 0x01, 4, 5, 2, 2, 0, 0, 0, 0, 77];
        let mut values = Differences::new(&equal).unwrap();
        assert_eq!([(); 5].map(|()| values.next().unwrap()), [1, 2, 3, 4, 5]);
        assert!(values.next().is_err());
        assert_eq!(Differences::new(&equal).unwrap().rest().unwrap(), [77]);
        // 7, 5, 3, 1, 2, 3, 4, 5: differences -2 and 1, from -2 on 0 and 3 in two bits.
        let bytes = [&[0x80, 0x01, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f][..], &[0; 6], &[9]].concat();
        let mut values = Differences::new(&bytes).unwrap();
        assert_eq!([(); 8].map(|()| values.next().unwrap()), [7, 5, 3, 1, 2, 3, 4, 5]);
        assert_eq!(Differences::new(&bytes).unwrap().rest().unwrap(), [9]);
        assert!(Differences::new(&bytes[..11]).unwrap().rest().is_err());
    }

    #[test]
    fn values_of_64_bits_are_read() {
        assert_eq!(packed(&[0xff; 9], 5, 64).unwrap(), u64::MAX);
        assert_eq!(packed(&[0, 0x80, 1], 15, 3).unwrap(), 0b011);
        assert_eq!(packed(&[], 0, 0).unwrap(), 0);
        assert!(packed(&[1], 7, 2).is_err());
    }
}
