//! Devices that tests run on.

use super::witness::witnessed;
use crate::engine::device::{AsyncCopies, Capability, Cuda, Device, Emu, EmuOptions, Schedule};
use crate::engine::tensor::DType;
use crate::{Error, Result};
use std::sync::OnceLock;

/// A device to test on, made anew for each run.
pub struct Target {
    /// Name in failure messages.
    pub name: String,
    /// Storage type of activations.
    pub dtype: DType,
    open: Box<dyn Fn() -> Device>,
}

impl Target {
    /// Opens the device.
    pub fn open(&self) -> Device {
        (self.open)()
    }
}

/// Devices that tests run on: the CPU; the emulator, where this build has it, in several schedules; a GPU where one
/// answers. The documentation of [`check`](super) says how to choose among them.
pub fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    if is_wanted("cpu") {
        targets.push(Target { name: "cpu".into(), dtype: DType::F32, open: Box::new(|| Device::Cpu) });
    }
    if is_wanted("emu") && has_emulator() {
        let fifo = EmuOptions::default();
        let skew = EmuOptions { schedule: Schedule::Skew, async_copies: AsyncCopies::Coin, ..fifo };
        let late = EmuOptions { seed: 3, async_copies: AsyncCopies::Late, ..skew };
        let seeded = [EmuOptions { seed: 1, ..skew }, EmuOptions { seed: 2, ..skew }, late];
        // ThreadSanitizer sees a race in any order, and is slow: one order will do.
        let orders = if cfg!(ddpm_emu_sanitize = "thread") { [fifo; 3] } else { seeded };
        let mut runs = vec![(DType::F32, fifo), (DType::F32, orders[0])];
        runs.extend([(DType::Bf16, orders[1]), (DType::Bf16, orders[2])]);
        runs.dedup();
        targets.extend(runs.into_iter().map(|(dtype, options)| emulator(dtype, options)));
    }
    if has_gpu() {
        targets.extend([DType::F32, DType::Bf16].map(gpu));
    }
    targets
}

/// The emulator as compute capability 9.0, in a few schedules; nothing where it is not there or not wanted.
pub(super) fn emulated_hopper() -> Vec<Target> {
    if !is_wanted("emu") || !has_emulator() {
        return Vec::new();
    }
    let fifo = EmuOptions { compute_capability: (9, 0), ..EmuOptions::default() };
    let late = EmuOptions { async_copies: AsyncCopies::Late, ..fifo };
    let skew = EmuOptions { schedule: Schedule::Skew, async_copies: AsyncCopies::Coin, seed: 4, ..fifo };
    let runs = if cfg!(ddpm_emu_sanitize = "thread") { vec![fifo] } else { vec![fifo, late, skew] };
    runs.into_iter().map(|options| emulator(DType::Bf16, options)).collect()
}

/// Devices that have the kernels for Hopper, in bf16, each in all orders in which it can run them: the emulator as compute
/// capability 9.0, the order that hides least first and the plainest last; a GPU of that capability in its own.
pub fn hopper_devices() -> Vec<Vec<Target>> {
    let mut devices = Vec::new();
    if is_wanted("emu") && has_emulator() {
        let fifo = EmuOptions { compute_capability: (9, 0), ..EmuOptions::default() };
        let skewed = |seed| {
            let async_copies = [AsyncCopies::Late, AsyncCopies::Coin, AsyncCopies::Early][seed as usize % 3];
            EmuOptions { schedule: Schedule::Skew, async_copies, seed, ..fifo }
        };
        let orders = if cfg!(ddpm_emu_sanitize = "thread") { 1..1 } else { 1..6 };
        let orders = orders.map(skewed).chain([fifo]);
        devices.push(orders.map(|options| emulator(DType::Bf16, options)).collect());
    }
    if has_gpu() {
        let gpu = gpu(DType::Bf16);
        if gpu.open().backend().capability() == Capability::Hopper {
            devices.push(vec![gpu]);
        }
    }
    devices
}

/// Reason to skip a test of the kernels for Hopper where [`hopper_devices`] are none.
pub const NO_HOPPER: &str = "neither the emulator nor a GPU of compute capability 9.0 is here, or none is asked for";

/// A device that only the emulator can be: in a certain order, or with so much memory.
///
/// # Errors
/// The reason why there is none: `DDPM_TEST_DEVICES` does not name it, or this build has not got it.
pub fn emulated(options: EmuOptions) -> Result<Device> {
    if !is_wanted("emu") {
        return Err(Error::device("emu", "DDPM_TEST_DEVICES does not name it"));
    }
    Ok(Device::Gpu(witnessed(Box::new(Emu::new(options)?), "emu")))
}

/// The emulator with these options.
pub fn emulator(dtype: DType, options: EmuOptions) -> Target {
    let EmuOptions { schedule, async_copies, seed, compute_capability: (major, minor), .. } = options;
    let name = format!("emu {major}.{minor} ({schedule:?}, {async_copies:?} copies, seed {seed})");
    Target { name, dtype, open: Box::new(move || emulated(options).expect("it started before")) }
}

fn gpu(dtype: DType) -> Target {
    let open = || Device::Gpu(witnessed(Box::new(Cuda::new(0).expect("it answered before")), "cuda"));
    Target { name: "cuda".into(), dtype, open: Box::new(open) }
}

/// The kinds of device that `DDPM_TEST_DEVICES` names, if it is set.
fn named_devices() -> Option<Vec<String>> {
    let names = std::env::var("DDPM_TEST_DEVICES").ok()?;
    let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
    let unknown = names.iter().find(|name| !["cpu", "emu", "cuda"].contains(&name.as_str()));
    assert!(unknown.is_none(), "DDPM_TEST_DEVICES={}: cpu, emu and cuda are known", names.join(","));
    Some(names)
}

/// True if tests run on this kind of device, `cpu`, `emu` or `cuda`, where there is one.
pub fn is_wanted(kind: &str) -> bool {
    named_devices().is_none_or(|names| names.iter().any(|name| name == kind))
}

/// True if this build has the emulator.
///
/// # Panics
/// With the reason, if `DDPM_TEST_DEVICES` names the emulator and it is not there.
fn has_emulator() -> bool {
    match Emu::new(EmuOptions::default()) {
        Ok(_) => true,
        Err(reason) if named_devices().is_some() => panic!("DDPM_TEST_DEVICES names emu, but {reason}"),
        Err(reason) if std::env::var("DDPM_REQUIRE_TESTS").is_ok_and(|v| v == "1") => {
            panic!("DDPM_REQUIRE_TESTS=1, but {reason}")
        }
        Err(_) => false,
    }
}

/// True if tests run on a GPU and one answers.
///
/// # Panics
/// With the reason, if `DDPM_REQUIRE_GPU` or `DDPM_TEST_DEVICES` asks for a GPU and none answers.
pub fn has_gpu() -> bool {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let is_required = std::env::var("DDPM_REQUIRE_GPU").is_ok_and(|v| v == "1");
    if !is_wanted("cuda") && !is_required {
        return false;
    }
    match ANSWER.get_or_init(|| Cuda::new(0).map(drop).map_err(|e| e.to_string())) {
        Ok(()) => is_wanted("cuda"),
        Err(reason) if is_required => panic!("DDPM_REQUIRE_GPU=1, but {reason}"),
        Err(reason) if named_devices().is_some() => panic!("DDPM_TEST_DEVICES names cuda, but {reason}"),
        Err(_) => false,
    }
}
