//! The table of a driver's live allocations: addresses come from safe code, so each is checked before it is used.

use super::driver::{KernelArg, KernelCall};
use std::collections::BTreeMap;

/// Address and size of everything that is allocated.
#[derive(Default)]
pub struct Allocations(BTreeMap<u64, usize>);

impl Allocations {
    pub fn insert(&mut self, address: u64, bytes: usize) {
        self.0.insert(address, bytes);
    }

    /// The size of what is no longer allocated; none if the address was not.
    pub fn remove(&mut self, address: u64) -> Option<usize> {
        self.0.remove(&address)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, usize)> {
        self.0.iter().map(|(&address, &bytes)| (address, bytes))
    }

    /// Checks that a range lies inside one allocation; an error message if not.
    pub fn check(&self, address: u64, bytes: usize) -> Result<(), String> {
        let inside = self.0.range(..=address).next_back().is_some_and(|(&base, &size)| {
            let before = address - base;
            before <= size as u64 && bytes as u64 <= size as u64 - before
        });
        if inside { Ok(()) } else { Err(format!("{bytes} bytes at {address:#x} lie outside every allocation")) }
    }

    /// The same for every pointer of a launch that is not null, and every tensor map.
    pub fn check_call(&self, call: &KernelCall) -> Result<(), String> {
        for (i, arg) in call.args.iter().enumerate() {
            let map_fits = match arg {
                KernelArg::TensorMap { address, bytes, map } => map.check(*address, *bytes),
                _ => Ok(()),
            };
            let mut extents = arg.extents().into_iter();
            let checked = map_fits.and_then(|()| extents.try_for_each(|(address, bytes)| self.check(address, bytes)));
            checked.map_err(|reason| format!("argument {i}: {reason}"))?;
        }
        Ok(())
    }
}
