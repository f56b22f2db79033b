//! Launching a single kernel by its name, on any driver.

use ddpm::device::{AsyncCopies, Driver, EmuOptions, KernelArg, KernelCall, Schedule};

/// An operand of a launch: an array to write (NaN before), an array to read, or a number.
pub enum Operand<'a> {
    Out(usize),
    In(&'a [f32]),
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
                Operand::Out(n) => (n * 4, &[]),
                Operand::In(values) => (values.len() * 4, bytemuck::cast_slice(values)),
                Operand::Int(value) => {
                    args.push(KernelArg::I32(*value));
                    continue;
                }
            };
            let memory = driver.alloc(bytes)?;
            driver.fill(memory.address, bytes, 0xff)?;
            driver.upload(memory.address, data)?;
            args.push(KernelArg::Pointer { address: memory.address, bytes });
            if let Operand::Out(n) = operand {
                outputs.push((memory.address, *n));
            }
            allocations.push(memory);
        }
        let (kernel, smem_bytes) = (self.kernel.to_string(), self.smem_bytes);
        driver.launch(&KernelCall { kernel, grid: [self.grid, 1, 1], block: self.block, smem_bytes, args })?;
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
