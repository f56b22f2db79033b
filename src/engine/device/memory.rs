//! Memory of the CPU device: two regions, and disjoint views into them.

use super::HostMemory;
use crate::engine::tensor::{DType, Place, Tensor};
use crate::{Error, Result};

/// A cache line: what the regions are made of, so that every tensor is aligned.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

#[derive(Default)]
struct Region(Vec<Line>);

impl Region {
    /// Asks how much is free before: Linux gives more than there is, and ends the process that then writes to it.
    fn new(bytes: u64, fill: f32) -> Result<Region> {
        let free = HostMemory::read();
        let lines = bytes.div_ceil(64) as usize;
        let mut region = Vec::new();
        let fits = free.is_none_or(|memory| bytes <= memory.free_bytes);
        if !fits || region.try_reserve_exact(lines).is_err() {
            let HostMemory { free_bytes, total_bytes } = free.unwrap_or(HostMemory { free_bytes: 0, total_bytes: 0 });
            let (device, advice) = ("cpu".into(), String::new());
            return Err(Error::OutOfMemory { device, wanted_bytes: bytes, free_bytes, total_bytes, advice });
        }
        region.resize(lines, Line([fill; 16]));
        Ok(Region(region))
    }

    fn floats(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// The persistent region and the arena of a CPU session.
#[derive(Default)]
pub struct Memory {
    persistent: Region,
    arena: Region,
    offsets: Vec<Option<u64>>,
}

impl Memory {
    /// Allocates a zeroed persistent region and no arena.
    ///
    /// # Errors
    /// When that much is not free.
    pub fn new(persistent_bytes: u64) -> Result<Memory> {
        Ok(Memory { persistent: Region::new(persistent_bytes, 0.0)?, ..Memory::default() })
    }

    /// Makes the arena at least `bytes` large. New memory is NaN: what is read before it is written shows.
    ///
    /// # Errors
    /// When that much is not free.
    pub fn reserve_arena(&mut self, bytes: u64) -> Result<()> {
        if self.arena.0.len() * 64 < bytes as usize {
            self.arena = Region(Vec::new());
            self.arena = Region::new(bytes, f32::NAN)?;
        }
        Ok(())
    }

    /// Selects where the intermediates of the program to run lie.
    pub fn bind(&mut self, offsets: &[Option<u64>]) {
        self.offsets.clear();
        self.offsets.extend_from_slice(offsets);
    }

    /// The region, first element and length of a tensor.
    fn range(&self, t: Tensor) -> (bool, usize, usize) {
        assert!(t.dtype() != DType::Bf16, "the CPU device stores f32");
        let (in_arena, offset, region) = match t.place {
            Place::Nowhere => return (false, 0, 0),
            Place::Persistent(offset) => (false, offset, &self.persistent),
            Place::Arena(i) => (true, self.offsets[i as usize].expect("a planned tensor"), &self.arena),
            Place::Counters(_) | Place::Unstored(_) => unreachable!("{t:?} is for kernels"),
        };
        let (first, len) = (offset as usize / 4, t.numel());
        assert!(first + len <= region.0.len() * 16, "{t:?} lies outside its region");
        (in_arena, first, len)
    }

    /// Views of tensors to write and tensors to read. [`Tensor::EMPTY`] gives an empty slice; integer tensors are
    /// seen as the floats of the same bits.
    ///
    /// # Panics
    /// If something to write overlaps anything else.
    pub fn views<const O: usize, const I: usize>(
        &mut self,
        outs: [Tensor; O],
        ins: [Tensor; I],
    ) -> ([&mut [f32]; O], [&[f32]; I]) {
        let out_ranges = outs.map(|t| self.range(t));
        let in_ranges = ins.map(|t| self.range(t));
        let overlap = |a: (bool, usize, usize), b: (bool, usize, usize)| {
            a.0 == b.0 && a.1 < b.1 + b.2 && b.1 < a.1 + a.2 && a.2 > 0 && b.2 > 0
        };
        for (i, &out) in out_ranges.iter().enumerate() {
            let clash = out_ranges[i + 1..].iter().chain(&in_ranges).any(|&other| overlap(out, other));
            assert!(!clash, "{:?} overlaps another operand of the same op: {outs:?} <- {ins:?}", outs[i]);
        }
        let bases = [self.persistent.floats().as_mut_ptr(), self.arena.floats().as_mut_ptr()];
        let out_views = out_ranges.map(|(in_arena, first, len)| {
            // SAFETY: `range` checked first + len against the region; written ranges overlap no other range of this
            // call (checked above); and `&mut self` is held as long as any of the views.
            unsafe { std::slice::from_raw_parts_mut(bases[in_arena as usize].add(first), len) }
        });
        let in_views = in_ranges.map(|(in_arena, first, len)| {
            // SAFETY: as above; read ranges may overlap each other but no written one.
            unsafe { std::slice::from_raw_parts(bases[in_arena as usize].add(first), len) }
        });
        (out_views, in_views)
    }

    /// The elements of one tensor.
    pub fn read(&mut self, t: Tensor) -> &[f32] {
        self.views([], [t]).1[0]
    }

    /// The elements of one tensor, to overwrite.
    pub fn write(&mut self, t: Tensor) -> &mut [f32] {
        let ([out], []) = self.views([t], []);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_an_error_with_both_figures() {
        let bytes = 1 << 60;
        let mut memory = Memory::new(1000).unwrap();
        for error in [Memory::new(bytes).err().unwrap(), memory.reserve_arena(bytes).unwrap_err()] {
            let message = error.to_string();
            let expected = "device cpu: out of memory: 1152921504606846976 bytes wanted, ";
            assert!(message.starts_with(expected) && message.ends_with(" free"), "{message}");
        }
    }
}
