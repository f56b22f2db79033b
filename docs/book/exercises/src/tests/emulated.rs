//! Launches of the kernels of exercises, on the emulator.

use ddpm::engine::device::{AsyncCopies, Driver, Emu, EmuOptions, KernelArg, KernelCall, Schedule, TensorMap};
use ddpm::engine::tensor::DType;
use std::path::Path;

/// An operand of a launch: an array to write, which is NaN before, an array to read, either in f32 or bf16, boxes of one that
/// is stored as their map says, or a number.
pub enum Operand<'a> {
    Out(usize),
    #[cfg_attr(not(feature = "solutions"), expect(dead_code, reason = "the chapters' own kernels write bf16"))]
    OutBf16(usize),
    In(&'a [f32]),
    InBf16(&'a [f32]),
    Boxes(&'a [f32], TensorMap),
    Int(i32),
}

/// Bytes behind each array that a kernel must leave as they are, and their value: no NaN, which a kernel could read and write
/// there unseen.
const GUARD_BYTES: usize = 4096;
const GUARD: u8 = 0x55;

/// Runs a kernel once; returns the array that is written. Panics if the kernel has written behind the end of an array.
///
/// # Errors
/// What the emulator finds wrong.
pub fn launch(
    kernel: &str,
    [grid, block]: [usize; 2],
    operands: &[Operand],
    options: EmuOptions,
) -> ddpm::Result<Vec<f32>> {
    launch_with_shared(kernel, [grid, block, 0], operands, options)
}

/// The same, with so many bytes of dynamic shared memory.
///
/// # Errors
/// What the emulator finds wrong.
pub fn launch_with_shared(
    kernel: &str,
    [grid, block, shared_bytes]: [usize; 3],
    operands: &[Operand],
    options: EmuOptions,
) -> ddpm::Result<Vec<f32>> {
    let driver = Emu::new(options)?;
    let (mut args, mut allocations, mut written) = (Vec::new(), Vec::new(), (0, Vec::new(), DType::F32));
    for operand in operands {
        let (dtype, values, len): (DType, &[f32], usize) = match *operand {
            Operand::Out(len) => (DType::F32, &[], len),
            Operand::OutBf16(len) => (DType::Bf16, &[], len),
            Operand::In(values) => (DType::F32, values, values.len()),
            Operand::InBf16(values) => (DType::Bf16, values, values.len()),
            Operand::Boxes(values, map) => (map.dtype, values, values.len()),
            Operand::Int(value) => {
                args.push(KernelArg::I32(value));
                continue;
            }
        };
        let bytes = dtype.bytes() * len;
        let memory = driver.alloc(bytes + GUARD_BYTES)?;
        let address = memory.address;
        driver.fill(address, bytes, 0xff)?;
        driver.fill(address + bytes as u64, GUARD_BYTES, GUARD)?;
        driver.upload(address, &stored(values, dtype))?;
        args.push(match *operand {
            Operand::Boxes(_, map) => KernelArg::TensorMap { address, bytes, map },
            _ => KernelArg::Pointer { address, bytes },
        });
        if let Operand::Out(_) | Operand::OutBf16(_) = operand {
            written = (address, vec![0; bytes], dtype);
        }
        allocations.push(memory);
    }
    driver.launch(&KernelCall {
        kernel: kernel.into(),
        layer: "".into(),
        grid: [grid as u32, 1, 1],
        block: block as u32,
        smem_bytes: shared_bytes as u32,
        args,
    })?;
    for memory in &allocations {
        let (end, mut guard) = (memory.bytes - GUARD_BYTES, [0; GUARD_BYTES]);
        driver.download(memory.address + end as u64, &mut guard)?;
        let touched = guard.iter().position(|&byte| byte != GUARD);
        assert!(touched.is_none(), "{kernel} writes behind an array of {end} bytes: byte {}", end + touched.unwrap());
    }
    let (address, mut bytes, dtype) = written;
    driver.download(address, &mut bytes)?;
    allocations.into_iter().for_each(|memory| driver.free(memory));
    Ok(match dtype {
        DType::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        _ => bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
    })
}

fn stored(values: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
    }
}

/// A GPU of compute capability 9.0, in each of these schedules.
pub fn hopper_schedules() -> impl Iterator<Item = EmuOptions> {
    schedules().map(|options| EmuOptions { compute_capability: (9, 0), ..options })
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
