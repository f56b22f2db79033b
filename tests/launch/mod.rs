//! Launching a single kernel by its name, on any driver.

pub mod hopper;

use ddpm::engine::device::{AsyncCopies, Driver, EmuOptions, KernelArg, KernelCall, Schedule, TensorMap};

/// An operand of a launch: an array to write (NaN before), an array to read, either as boxes, or a number.
pub enum Operand<'a> {
    Out(usize),
    In(&'a [f32]),
    Words(&'a [u32]),
    OutBoxes(usize, TensorMap),
    Boxes(&'a [u32], TensorMap),
    Int(i32),
}

pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: u32,
    pub block: u32,
    pub smem_bytes: u32,
    pub operands: &'a [Operand<'a>],
}

impl Launch<'_> {
    /// Runs once; returns the arrays that were written.
    pub fn run_on(&self, driver: &dyn Driver) -> ddpm::Result<Vec<Vec<u32>>> {
        let mut outputs = Vec::new();
        let mut args = Vec::new();
        let mut allocations = Vec::new();
        for operand in self.operands {
            let (bytes, data): (usize, &[u8]) = match operand {
                Operand::Out(n) | Operand::OutBoxes(n, _) => (n * 4, &[]),
                Operand::In(values) => (values.len() * 4, bytemuck::cast_slice(values)),
                Operand::Words(words) | Operand::Boxes(words, _) => (words.len() * 4, bytemuck::cast_slice(words)),
                Operand::Int(value) => {
                    args.push(KernelArg::I32(*value));
                    continue;
                }
            };
            let memory = driver.alloc(bytes)?;
            driver.fill(memory.address, bytes, 0xff)?;
            driver.upload(memory.address, data)?;
            let address = memory.address;
            args.push(match *operand {
                Operand::OutBoxes(_, map) | Operand::Boxes(_, map) => KernelArg::TensorMap { address, bytes, map },
                _ => KernelArg::Pointer { address, bytes },
            });
            if let Operand::Out(n) | Operand::OutBoxes(n, _) = operand {
                outputs.push((address, *n));
            }
            allocations.push(memory);
        }
        let (kernel, smem_bytes) = (self.kernel.to_string(), self.smem_bytes);
        driver.launch(&KernelCall {
            kernel,
            layer: "".into(),
            grid: [self.grid, 1, 1],
            block: self.block,
            smem_bytes,
            args,
        })?;
        let results = outputs.into_iter().map(|(address, n)| {
            let mut words = vec![0u32; n];
            driver.download(address, bytemuck::cast_slice_mut(&mut words)).map(|()| words)
        });
        let results = results.collect();
        allocations.into_iter().for_each(|memory| driver.free(memory));
        results
    }
}

const SEEDS: u64 = 10;

/// Every way to run the emulator that can hide or expose a race.
pub fn schedules() -> impl Iterator<Item = EmuOptions> {
    let skewed = (0..SEEDS).map(|seed| EmuOptions {
        schedule: Schedule::Skew,
        async_copies: AsyncCopies::Coin,
        seed,
        os_threads: 1 + seed as u32 % 2,
        ..EmuOptions::default()
    });
    let plain = [AsyncCopies::Early, AsyncCopies::Late]
        .map(|copies| EmuOptions { async_copies: copies, ..EmuOptions::default() });
    plain.into_iter().chain(skewed)
}

/// Rounded to bf16, two to a word, the first in its low half.
pub fn bf16_pairs(values: &[f32]) -> Vec<u32> {
    let halves = values.chunks(2).map(|p| [half::bf16::from_f32(p[0]), half::bf16::from_f32(p[1])]);
    halves.map(|[low, high]| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16).collect()
}
