//! The compiled GPU kernels: what each takes on every architecture, printed as a table (`--nocapture` shows it), and that
//! none spills.

use ddpm::engine::device::Emu;
use ddpm::engine::device::kernels::{ARCHITECTURES, KERNELS, RESOURCES};

/// Static shared memory that every GPU gives a block.
const STATIC_SHARED_BYTES: u32 = 48 << 10;

/// Kernel, architecture, and the bytes of stack frame and spills that it has there all the same. The registers of these
/// kernels are bounded by the blocks that a multiprocessor runs, which was chosen for sm_80 and sm_90a; one block fewer would
/// cost more than a few words of the L1 cache.
const SPILLS: [(&str, &str, u32, u32); 7] = [
    ("conv2d_bwd_dw_few", "sm_120", 8, 16),
    ("group_norm_fwd_bf16", "sm_100", 8, 40),
    ("group_norm_dropout_fwd_bf16", "sm_100", 16, 92),
    ("group_norm_scale_shift_dropout_bwd_bf16", "sm_120", 8, 16),
    ("group_norm_scale_shift_bwd_bf16", "sm_100", 16, 96),
    ("group_norm_scale_shift_bwd_bf16", "sm_120", 8, 48),
    ("group_norm_scale_shift_dropout_fwd_bf16", "sm_100", 16, 68),
];

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
        let allowed = SPILLS.iter().find(|(kernel, arch, ..)| (*kernel, *arch) == (r.kernel, r.arch));
        let (stack, spills) = allowed.map_or((0, 0), |&(_, _, stack, spills)| (stack, spills));
        assert_eq!(
            (r.stack_bytes, r.spill_bytes),
            (stack, spills),
            "stack frame and spills of {} on {}",
            r.kernel,
            r.arch
        );
        assert!(r.shared_bytes <= STATIC_SHARED_BYTES, "{} on {}", r.kernel, r.arch);
        assert!(r.registers > 0, "{} on {}: ptxas did not say what it takes", r.kernel, r.arch);
    }
    for kernel in KERNELS {
        let compiled = RESOURCES.iter().filter(|r| r.kernel == kernel.name).count();
        let wanted = if kernel.needs_hopper() { 1 } else { ARCHITECTURES.len() };
        assert_eq!(compiled, wanted, "{} is compiled for {compiled} of {ARCHITECTURES:?}", kernel.name);
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
