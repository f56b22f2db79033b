//! The compiled GPU kernels: what each takes on every architecture, printed as a table (`--nocapture` shows it), and that
//! none spills.

use ddpm::engine::device::Emu;
use ddpm::engine::device::kernels::{KERNELS, RESOURCES};

/// Static shared memory that every GPU gives a block.
const STATIC_SHARED_BYTES: u32 = 48 << 10;

#[test]
fn no_kernel_spills() {
    if KERNELS.is_empty() {
        ddpm::skip!("built without nvcc (scripts/cuda-toolkit.sh)");
    }
    println!("{:36} {:8} {:>9} {:>13} {:>5} {:>6}", "kernel", "arch", "registers", "static shared", "stack", "spills");
    for r in RESOURCES {
        let (stack, spills) = (r.stack_bytes, r.spill_bytes);
        println!("{:36} {:8} {:9} {:13} {stack:5} {spills:6}", r.kernel, r.arch, r.registers, r.shared_bytes);
    }
    for r in RESOURCES {
        assert_eq!((r.stack_bytes, r.spill_bytes), (0, 0), "{} on {} has a stack frame or spills", r.kernel, r.arch);
        assert!(r.shared_bytes <= STATIC_SHARED_BYTES, "{} on {}", r.kernel, r.arch);
        assert!(r.registers > 0, "{} on {}: ptxas did not say what it takes", r.kernel, r.arch);
    }
    let archs: std::collections::BTreeSet<&str> = RESOURCES.iter().map(|r| r.arch).collect();
    for kernel in KERNELS {
        let compiled = RESOURCES.iter().filter(|r| r.kernel == kernel.name).count();
        let wanted = if kernel.needs_hopper() { 1 } else { archs.len() };
        assert_eq!(compiled, wanted, "{} is compiled for {compiled} of {archs:?}", kernel.name);
    }
}

#[test]
fn the_gpu_and_the_emulator_have_the_same_kernels() {
    let mut gpu: Vec<&str> = KERNELS.iter().map(|k| k.name).collect();
    let mut emu = Emu::kernels();
    if gpu.is_empty() || emu.is_empty() {
        ddpm::skip!("built without nvcc or without a C++ compiler");
    }
    gpu.sort_unstable();
    emu.sort_unstable();
    assert_eq!(gpu, emu);
}
