//! Launches of the kernels of exercises, on the emulator.

use ddpm::engine::device::{AsyncCopies, Driver, Emu, EmuOptions, KernelArg, KernelCall, Schedule};
use std::path::Path;

/// An operand of a launch: an array to write, which is NaN before, an array to read, or a number.
pub enum Operand<'a> {
    Out(usize),
    In(&'a [f32]),
    Int(i32),
}

/// Runs a kernel once; returns the array that is written.
///
/// # Errors
/// What the emulator finds wrong.
pub fn launch(
    kernel: &str,
    [grid, block]: [usize; 2],
    operands: &[Operand],
    options: EmuOptions,
) -> ddpm::Result<Vec<f32>> {
    let driver = Emu::new(options)?;
    let (mut args, mut allocations, mut written) = (Vec::new(), Vec::new(), (0, 0));
    for operand in operands {
        let (len, values): (usize, &[f32]) = match *operand {
            Operand::Out(len) => (len, &[]),
            Operand::In(values) => (values.len(), values),
            Operand::Int(value) => {
                args.push(KernelArg::I32(value));
                continue;
            }
        };
        let bytes = 4 * len;
        let memory = driver.alloc(bytes)?;
        let address = memory.address;
        driver.fill(address, bytes, 0xff)?;
        driver.upload(address, bytemuck::cast_slice(values))?;
        args.push(KernelArg::Pointer { address, bytes });
        if let Operand::Out(_) = operand {
            written = (address, len);
        }
        allocations.push(memory);
    }
    let (kernel, layer) = (kernel.into(), "".into());
    driver.launch(&KernelCall {
        kernel,
        layer,
        grid: [grid as u32, 1, 1],
        block: block as u32,
        smem_bytes: 0,
        args,
    })?;
    let mut result = vec![0f32; written.1];
    driver.download(written.0, bytemuck::cast_slice_mut(&mut result))?;
    allocations.into_iter().for_each(|memory| driver.free(memory));
    Ok(result)
}

/// Threads in turns, and warps with random priorities, by ten seeds.
pub fn schedules() -> impl Iterator<Item = EmuOptions> {
    let skewed = (0..10).map(|seed| EmuOptions {
        schedule: Schedule::Skew,
        async_copies: AsyncCopies::Coin,
        seed,
        ..EmuOptions::default()
    });
    [EmuOptions::default()].into_iter().chain(skewed)
}

/// The text of a kernel file: yours, or the book's.
pub fn source(file: &str) -> String {
    let folder = if cfg!(feature = "solutions") { "../solutions" } else { "kernels" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
