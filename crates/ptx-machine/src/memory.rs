//! Global memory: allocations, reached by all blocks at the same time.
//!
//! Bytes lie in words that are atomic, so that blocks may run on several threads without a word of `unsafe`: what a race
//! gives is some value that was written, as on hardware. Reading and writing a word costs no more than without.

use crate::error::{Error, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Alignment of allocations, as on a GPU.
const ALIGN_BYTES: u64 = 256;
/// The first address: allocations start above, and none lies next to another.
const FIRST_ADDRESS: u64 = 0x0010_0000_0000;
/// Value of new words: NaN as f32 and as two bf16.
const POISON: u32 = 0xffff_ffff;

/// Memory of the machine: allocations, found by their addresses. New memory is NaN.
#[derive(Debug, Default)]
pub struct Memory {
    /// In the order of their addresses.
    allocations: Vec<Allocation>,
    next_address: u64,
    /// Held while 64 bits are changed at once.
    wide: Mutex<()>,
}

#[derive(Debug)]
struct Allocation {
    address: u64,
    bytes: u64,
    words: Vec<AtomicU32>,
}

/// A place in global memory: an allocation, and a word of it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'m> {
    words: &'m [AtomicU32],
    /// Bits by which a narrow access is shifted in its word.
    shift: u32,
}

impl Memory {
    /// Allocates memory, and returns its address.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let address = self.next_address.max(FIRST_ADDRESS);
        let words = (0..bytes.div_ceil(4)).map(|_| AtomicU32::new(POISON)).collect();
        let bytes = bytes as u64;
        self.next_address = (address + bytes).next_multiple_of(ALIGN_BYTES) + ALIGN_BYTES;
        self.allocations.push(Allocation { address, bytes, words });
        address
    }

    /// Frees an allocation. Does nothing if there is none at this address.
    pub fn free(&mut self, address: u64) {
        self.allocations.retain(|allocation| allocation.address != address);
    }

    /// Copies bytes to memory.
    ///
    /// # Errors
    /// A range that does not lie inside one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let allocation = self.holding(address, bytes.len() as u64)?;
        let first = (address - allocation.address) as usize;
        for (i, &byte) in bytes.iter().enumerate() {
            let (word, shift) = ((first + i) / 4, 8 * ((first + i) % 4) as u32);
            let word = &allocation.words[word];
            word.store(word.load(Relaxed) & !(0xff << shift) | u32::from(byte) << shift, Relaxed);
        }
        Ok(())
    }

    /// Copies bytes from memory.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>> {
        let allocation = self.holding(address, bytes as u64)?;
        let first = (address - allocation.address) as usize;
        let byte = |i: usize| (allocation.words[i / 4].load(Relaxed) >> (8 * (i % 4))) as u8;
        Ok((first..first + bytes).map(byte).collect())
    }

    fn holding(&self, address: u64, bytes: u64) -> Result<&Allocation> {
        let outside = || Error::Launch(outside(address, bytes));
        let mut hint = 0;
        self.find(address, bytes, &mut hint).map(|i| &self.allocations[i]).ok_or_else(outside)
    }

    fn find(&self, address: u64, bytes: u64, hint: &mut usize) -> Option<usize> {
        let holds = |allocation: &Allocation| {
            address >= allocation.address && address - allocation.address + bytes <= allocation.bytes
        };
        if self.allocations.get(*hint).is_some_and(holds) {
            return Some(*hint);
        }
        let after = self.allocations.partition_point(|allocation| allocation.address <= address);
        let at = after.checked_sub(1).filter(|&at| holds(&self.allocations[at]))?;
        *hint = at;
        Some(at)
    }

    /// Finds the words of an aligned access. `hint` makes the next one in the same allocation faster.
    #[inline(always)]
    pub(crate) fn place(&self, address: u64, bytes: u64, hint: &mut usize) -> std::result::Result<Place<'_>, String> {
        let Some(at) = self.find(address, bytes, hint) else { return Err(self.explain(address, bytes)) };
        let allocation = &self.allocations[at];
        let offset = (address - allocation.address) as usize;
        let words = bytes.div_ceil(4) as usize;
        Ok(Place { words: &allocation.words[offset / 4..offset / 4 + words], shift: 8 * (offset % 4) as u32 })
    }

    /// Reads bytes for a tensor copy.
    pub(crate) fn read_bytes(&self, address: u64, out: &mut [u8], hint: &mut usize) -> std::result::Result<(), String> {
        let place = self.place(address & !3, (address & 3) + out.len() as u64, hint)?;
        for (i, out) in out.iter_mut().enumerate() {
            let at = (address & 3) as usize + i;
            *out = (place.words[at / 4].load(Relaxed) >> (8 * (at % 4))) as u8;
        }
        Ok(())
    }

    /// Writes bytes for a tensor copy.
    pub(crate) fn write_bytes(&self, address: u64, bytes: &[u8], hint: &mut usize) -> std::result::Result<(), String> {
        let place = self.place(address & !3, (address & 3) + bytes.len() as u64, hint)?;
        for (i, &byte) in bytes.iter().enumerate() {
            let at = (address & 3) as usize + i;
            let (keep, new) = (!(0xffu32 << (8 * (at % 4))), u32::from(byte) << (8 * (at % 4)));
            let _ = place.words[at / 4].fetch_update(Relaxed, Relaxed, |old| Some(old & keep | new));
        }
        Ok(())
    }

    /// Says where an address lies that is in no allocation.
    fn explain(&self, address: u64, bytes: u64) -> String {
        let after = self.allocations.partition_point(|allocation| allocation.address <= address);
        let before = after.checked_sub(1).map(|at| &self.allocations[at]);
        match before {
            Some(a) if address - a.address < a.bytes + (1 << 20) => format!(
                "{bytes} bytes at {address:#x} lie outside every allocation: at byte {} of one of {} bytes",
                address - a.address,
                a.bytes
            ),
            _ => outside(address, bytes),
        }
    }

    /// Changes 32 bits at once, and returns the old ones.
    pub(crate) fn update32(&self, place: Place, change: impl Fn(u32) -> u32) -> u32 {
        place.words[0].fetch_update(Relaxed, Relaxed, |old| Some(change(old))).expect("it always changes")
    }

    /// Changes 64 bits at once, and returns the old ones.
    pub(crate) fn update64(&self, place: Place, change: impl Fn(u64) -> u64) -> u64 {
        let _held = self.wide.lock();
        let old = u64::from(place.words[0].load(Relaxed)) | u64::from(place.words[1].load(Relaxed)) << 32;
        let new = change(old);
        place.words[0].store(new as u32, Relaxed);
        place.words[1].store((new >> 32) as u32, Relaxed);
        old
    }
}

impl Place<'_> {
    /// Reads `bytes` bytes into the first words.
    #[inline(always)]
    pub(crate) fn load(self, bytes: u64, out: &mut [u32; 8]) {
        match bytes {
            1 => out[0] = self.words[0].load(Relaxed) >> self.shift & 0xff,
            2 => out[0] = self.words[0].load(Relaxed) >> self.shift & 0xffff,
            _ => {
                for (out, word) in out.iter_mut().zip(self.words) {
                    *out = word.load(Relaxed);
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn store(self, bytes: u64, values: &[u32; 8]) {
        let narrow = |ones: u32| {
            let (keep, new) = (!(ones << self.shift), (values[0] & ones) << self.shift);
            // Other blocks may write the other bytes of this word.
            let _ = self.words[0].fetch_update(Relaxed, Relaxed, |old| Some(old & keep | new));
        };
        match bytes {
            1 => narrow(0xff),
            2 => narrow(0xffff),
            _ => {
                for (value, word) in values.iter().zip(self.words) {
                    word.store(*value, Relaxed);
                }
            }
        }
    }
}

fn outside(address: u64, bytes: u64) -> String {
    format!("{bytes} bytes at {address:#x} lie outside every allocation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_new_memory_is_nan() {
        let mut memory = Memory::default();
        let (a, b) = (memory.allocate(12), memory.allocate(5));
        assert_eq!((a % 256, b % 256), (0, 0));
        assert_eq!(memory.read(a, 12).unwrap(), [255; 12]);
        memory.write(a + 3, &[1, 2, 3]).unwrap();
        assert_eq!(memory.read(a + 2, 5).unwrap(), [255, 1, 2, 3, 255]);
    }

    #[test]
    fn ranges_outside_every_allocation_are_errors() {
        let mut memory = Memory::default();
        let a = memory.allocate(100);
        memory.allocate(100);
        for (address, bytes) in [(a - 1, 4), (a + 98, 4), (a + 256, 1), (8, 1)] {
            assert!(memory.read(address, bytes).is_err(), "{bytes} at {address}");
        }
        memory.free(a);
        assert!(memory.read(a, 1).is_err());
    }
}
