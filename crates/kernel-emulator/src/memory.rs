//! Memory of the emulated device.
#![allow(unsafe_code)]

use crate::bridge;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::options::Options;
use std::alloc::Layout;
use std::collections::BTreeMap;

/// Memory of the emulated device: allocations, found by their addresses. New memory is NaN, as f32 and as bf16.
#[derive(Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    limit_bytes: Option<u64>,
}

/// Alignment of allocations, as on a GPU.
const ALIGN_BYTES: usize = 256;
/// Value of new bytes: NaN as f32 and as bf16.
const POISON: u8 = 0xff;

impl Memory {
    /// Makes a memory of so many bytes; without them, of all that the machine has free.
    pub fn new(limit_bytes: Option<u64>) -> Memory {
        Memory { limit_bytes, ..Memory::default() }
    }

    /// Returns free and total bytes.
    ///
    /// # Errors
    /// A machine that does not say how much memory it has.
    pub fn info(&self) -> Result<(u64, u64)> {
        let Some(total) = self.limit_bytes else { return memory_of_the_machine() };
        let used: u64 = self.allocations.values().map(|allocation| allocation.bytes as u64).sum();
        Ok((total.saturating_sub(used), total))
    }

    /// Allocates memory, and returns its address.
    ///
    /// # Errors
    /// Not so much is free.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64> {
        // Asked before: Linux gives more than there is, and ends the process that then writes to it.
        let (free_bytes, total_bytes) = self.info()?;
        let wanted_bytes = bytes as u64;
        let allocation = if wanted_bytes <= free_bytes { Allocation::new(bytes) } else { None };
        let allocation = allocation.ok_or(Error::OutOfMemory { wanted_bytes, free_bytes, total_bytes })?;
        let address = allocation.address();
        self.allocations.insert(address, allocation);
        Ok(address)
    }

    /// Frees an allocation. Does nothing if there is none at this address.
    pub fn free(&mut self, address: u64) {
        self.allocations.remove(&address);
    }

    /// Borrows the bytes of a range.
    ///
    /// # Errors
    /// A range that does not lie inside one allocation.
    pub fn bytes_at(&mut self, address: u64, bytes: usize) -> Result<&mut [u8]> {
        if bytes == 0 {
            return Ok(&mut []);
        }
        let outside = || outside(address, bytes);
        let (base, allocation) = self.allocations.range_mut(..=address).next_back().ok_or_else(outside)?;
        let first = usize::try_from(address - base).map_err(|_| outside())?;
        let end = first.checked_add(bytes).ok_or_else(outside)?;
        allocation.as_slice().get_mut(first..end).ok_or_else(outside)
    }

    /// Launches a kernel and waits for it.
    ///
    /// # Errors
    /// A launch that does not fit the kernel, a pointer outside every allocation, or a fault of the kernel with its file
    /// and line. No message names the kernel.
    pub fn launch(&mut self, launch: &Launch, options: &Options) -> Result<()> {
        for (i, argument) in launch.arguments.iter().enumerate() {
            for (address, bytes) in argument.extents() {
                self.bytes_at(address, bytes).map_err(|reason| Error::failed(format!("argument {i}: {reason}")))?;
            }
        }
        let fence = Fence::around(self, launch);
        // SAFETY: every pointer lies in a live allocation, which `&mut self` keeps alive and away from others. That the
        // kernel stays inside the extents that it is given is what the sanitizer's build checks.
        let result = unsafe { bridge::launch(launch, options) };
        drop(fence);
        result
    }
}

fn outside(address: u64, bytes: usize) -> Error {
    Error::failed(format!("{bytes} bytes at {address:#x} lie outside every allocation"))
}

fn memory_of_the_machine() -> Result<(u64, u64)> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).map_err(|e| Error::failed(format!("{path}: {e}")))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes =
            line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.map(|k| k * 1024).ok_or_else(|| Error::failed(format!("{path}: no {name}")))
    };
    Ok((field("MemAvailable")?, field("MemTotal")?))
}

/// While it lives, the address sanitizer reports any access to allocated memory outside the extents of one launch.
struct Fence(Vec<(u64, usize)>);

impl Fence {
    fn around(memory: &Memory, launch: &Launch) -> Fence {
        if !cfg!(has_address_sanitizer) {
            return Fence(Vec::new());
        }
        let all: Vec<(u64, usize)> =
            memory.allocations.iter().map(|(&address, allocation)| (address, allocation.bytes)).collect();
        all.iter().for_each(|&(address, bytes)| bridge::forbid(address, bytes));
        let extents = launch.arguments.iter().flat_map(|argument| argument.extents());
        extents.for_each(|(address, bytes)| bridge::allow(address, bytes));
        Fence(all)
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.0.iter().for_each(|&(address, bytes)| bridge::allow(address, bytes));
    }
}

/// Memory that is freed when it is dropped. Kernels reach it by its address.
struct Allocation {
    /// Without provenance: the address was exposed.
    address: usize,
    bytes: usize,
}

impl Allocation {
    fn new(bytes: usize) -> Option<Allocation> {
        let layout = layout(bytes)?;
        // SAFETY: `layout` is not empty.
        let memory = unsafe { std::alloc::alloc(layout) };
        if memory.is_null() {
            return None;
        }
        // SAFETY: `memory` points to `layout.size()` bytes that nothing else refers to.
        unsafe { memory.write_bytes(POISON, layout.size()) };
        Some(Allocation { address: memory.expose_provenance(), bytes })
    }

    fn address(&self) -> u64 {
        self.address as u64
    }

    fn as_slice(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes were allocated and initialised; `&mut self` keeps kernels and other accesses away.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(self.address), self.bytes) }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let layout = layout(self.bytes).expect("it was allocated with this layout");
        // SAFETY: it came from `new` with this layout.
        unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(self.address), layout) };
    }
}

/// Exactly `bytes` bytes, so that the address sanitizer sees their end; at least one.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGN_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_new_memory_is_nan() {
        let mut memory = Memory::default();
        let address = memory.allocate(12).unwrap();
        assert_eq!(address % 256, 0);
        assert!(
            memory.bytes_at(address, 12).unwrap().chunks(4).all(|b| f32::from_ne_bytes(b.try_into().unwrap()).is_nan())
        );
        memory.bytes_at(address + 4, 4).unwrap().fill(0);
        assert_eq!(memory.bytes_at(address, 8).unwrap(), [255, 255, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn ranges_outside_every_allocation_are_errors() {
        let mut memory = Memory::default();
        let address = memory.allocate(100).unwrap();
        for (start, bytes) in [(address - 1, 4), (address + 50, 51), (address + 100, 1), (address, usize::MAX), (8, 1)]
        {
            let message = memory.bytes_at(start, bytes).expect_err("outside").to_string();
            assert_eq!(message, format!("{bytes} bytes at {start:#x} lie outside every allocation"));
        }
        memory.free(address);
        assert!(memory.bytes_at(address, 1).is_err(), "freed");
        assert_eq!(memory.bytes_at(address, 0), Ok(&mut [][..]));
    }

    #[test]
    fn a_limit_is_kept_and_what_is_freed_can_be_had_again() {
        let mut memory = Memory::new(Some(1000));
        let first = memory.allocate(600).unwrap();
        assert_eq!(memory.info(), Ok((400, 1000)));
        let full = Error::OutOfMemory { wanted_bytes: 600, free_bytes: 400, total_bytes: 1000 };
        assert_eq!(memory.allocate(600), Err(full));
        memory.free(first);
        memory.allocate(1000).unwrap();
    }
}
