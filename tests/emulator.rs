//! The emulator against itself: kernels with one planted bug each are caught, and correct ones give the same result
//! under every schedule.
#![cfg(ddpm_emu)]

#[path = "emu/cluster.rs"]
mod cluster;
#[path = "emu/hopper.rs"]
mod hopper;
mod launch;

use ddpm::engine::device::{Driver, Emu, EmuOptions, KernelArg, KernelCall};
use launch::Operand::{In, Int, Out, Words};
use launch::{Launch, Operand, schedules};

// SAFETY: nothing is declared. The line links the kernels of tests/emu, which enter themselves into the emulator's table.
#[link(name = "ddpm_emu_tests", kind = "static", modifiers = "+whole-archive")]
unsafe extern "C" {}

trait OnEmulator {
    fn run(&self, options: EmuOptions) -> ddpm::Result<Vec<Vec<u32>>>;
    fn run_floats(&self, options: EmuOptions) -> ddpm::Result<Vec<f32>>;
    /// The message of the error that a fault must give.
    fn error(&self) -> String;
}

impl OnEmulator for Launch<'_> {
    fn run(&self, options: EmuOptions) -> ddpm::Result<Vec<Vec<u32>>> {
        self.run_on(&Emu::new(options)?)
    }

    fn run_floats(&self, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
        Ok(self.run(options)?.swap_remove(0).into_iter().map(f32::from_bits).collect())
    }

    fn error(&self) -> String {
        let error = self.run(EmuOptions::default()).expect_err(self.kernel).to_string();
        assert!(error.contains(self.kernel), "{error}");
        error
    }
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37) % 101) as f32 - 50.0).collect()
}

fn sum_blocks<'a>(kernel: &'a str, operands: &'a [Operand<'a>]) -> Launch<'a> {
    Launch { kernel, grid: 3, block: 256, smem_bytes: 1024, operands }
}

fn sum_tiles<'a>(kernel: &'a str, operands: &'a [Operand<'a>]) -> Launch<'a> {
    Launch { kernel, grid: 1, block: 64, smem_bytes: 2048, operands }
}

fn sum_grid<'a>(kernel: &'a str, operands: &'a [Operand<'a>]) -> Launch<'a> {
    Launch { kernel, grid: BLOCKS as u32, block: 64, smem_bytes: 0, operands }
}

const TILES: usize = 6;
const BLOCKS: usize = 5;

fn expected_sums(x: &[f32]) -> Vec<f32> {
    x.chunks(256).map(|block| block.iter().sum()).collect()
}

fn expected_tile_sums(x: &[f32]) -> Vec<f32> {
    (0..256).map(|i| (0..TILES).map(|t| x[t * 256 + 255 - i]).sum()).collect()
}

fn expected_grid_sums(x: &[f32]) -> Vec<f32> {
    (0..64).map(|i| (0..BLOCKS).map(|b| x[b * 64 + 63 - i]).sum()).collect()
}

#[test]
fn correct_kernels_give_the_same_result_under_every_schedule() {
    let (x, tiles) = (numbers(3 * 256), numbers(TILES * 256));
    for options in schedules() {
        let sums = sum_blocks("sum_blocks", &[Out(3), In(&x)]).run_floats(options).unwrap();
        assert_eq!(sums, expected_sums(&x), "{options:?}");
        let sums = sum_tiles("sum_tiles", &[Out(256), In(&tiles), Int(TILES as i32)]).run_floats(options).unwrap();
        assert_eq!(sums, expected_tile_sums(&tiles), "{options:?}");
        let operands = [Out(64), Out(BLOCKS * 64), Words(&[0]), In(&tiles[..BLOCKS * 64])];
        let sums = sum_grid("sum_grid", &operands).run_floats(options).unwrap();
        assert_eq!(sums, expected_grid_sums(&tiles), "{options:?}");
    }
}

/// Under the thread sanitizer the first schedule already stops the process: see `data_races_are_reported`.
#[cfg(not(ddpm_emu_sanitize = "thread"))]
#[test]
fn races_change_the_result() {
    let (x, tiles) = (numbers(3 * 256), numbers(TILES * 256));
    let caught = |launch: Launch, expected: Vec<f32>| {
        let wrong = schedules().filter(|&options| launch.run_floats(options).is_ok_and(|result| result != expected));
        let wrong = wrong.count();
        assert!(wrong > 0, "{} was never caught", launch.kernel);
    };
    caught(sum_blocks("sum_blocks_missing_barrier", &[Out(3), In(&x)]), expected_sums(&x));
    let operands = [Out(256), In(&tiles), Int(TILES as i32)];
    caught(sum_tiles("sum_tiles_missing_barrier", &operands), expected_tile_sums(&tiles));
    caught(sum_tiles("sum_tiles_wrong_wait", &operands), expected_tile_sums(&tiles));
    let operands = [Out(64), Out(BLOCKS * 64), Words(&[0]), In(&tiles[..BLOCKS * 64])];
    caught(sum_grid("sum_grid_missing_barrier", &operands), expected_grid_sums(&tiles));
}

#[test]
fn faults_are_errors_that_name_the_place() {
    let x = numbers(64);
    let fault = |kernel, operands: &[Operand], smem_bytes, wanted: &[&str]| {
        let error = Launch { kernel, grid: 1, block: 64, smem_bytes, operands }.error();
        for text in wanted {
            assert!(error.contains(text), "`{error}` does not say `{text}`");
        }
    };
    let source = "tests/emu/kernels.cu:";
    fault("divergent_barrier", &[Out(64)], 0, &["divergent barrier", source, "block (0,0,0)"]);
    fault("deadlock", &[Out(64)], 0, &["deadlock: 32 threads wait in", "bar.sync", "__syncthreads", source]);
    fault("shuffle_with_returned_lane", &[Out(64)], 0, &["__shfl_down_sync", "returned", source]);
    fault("shuffle_in_a_branch", &[Out(64)], 0, &["__shfl_xor_sync", source]);
    fault("misaligned_copy", &[Out(64), In(&x)], 256, &["cp.async", "not aligned to 16", source]);
    fault("misaligned_ldmatrix", &[Out(64)], 2048, &["ldmatrix", "not aligned to 16", source]);
    fault("misaligned_load", &[Out(64), In(&x)], 0, &["vector load", "not aligned to 16"]);
    fault("reads_unwritten_shared", &[Out(64)], 0, &["dynamic shared memory", "the launch gives 0"]);
}

#[test]
fn launches_that_do_not_fit_the_kernel_are_errors() {
    let x = numbers(256);
    let reject = |kernel, block, operands: &[Operand], wanted: &str| {
        let error = Launch { kernel, grid: 1, block, smem_bytes: 1024, operands }.error();
        assert!(error.contains(wanted), "{error}");
    };
    reject("no_such_kernel", 256, &[], "no kernel has this name");
    reject("sum_blocks", 256, &[Out(1)], "has 2 parameters, the launch gives 1");
    reject("sum_blocks", 256, &[Out(1), Int(3)], "parameter 1 is a pointer, the launch gives a 32-bit integer");
    reject("sum_blocks", 1025, &[Out(1), In(&x)], "1025");
    reject("sum_blocks", 0, &[Out(1), In(&x)], "0x1x1 threads");

    let emu = Emu::new(EmuOptions::default()).unwrap();
    let memory = emu.alloc(100).unwrap();
    assert!(emu.upload(memory.address + 50, &[0; 51]).is_err());
    assert!(emu.download(memory.address - 1, &mut [0; 4]).is_err());
    let args = vec![KernelArg::Pointer { address: memory.address, bytes: 104 }];
    let call = KernelCall { kernel: "deadlock".into(), layer: "".into(), grid: [1; 3], block: 32, smem_bytes: 0, args };
    let error = emu.launch(&call).unwrap_err().to_string();
    assert!(error.contains("outside every allocation"), "{error}");
}

#[test]
fn unwritten_shared_memory_is_nan() {
    let launch = Launch { kernel: "reads_unwritten_shared", grid: 2, block: 64, smem_bytes: 256, operands: &[Out(64)] };
    assert!(launch.run_floats(EmuOptions::default()).unwrap().iter().all(|v| v.is_nan()));
}

/// A finding of a sanitizer ends the process: each case runs in a child, which is this test with a variable set.
#[cfg(any(ddpm_emu_sanitize = "address", ddpm_emu_sanitize = "thread"))]
mod sanitized {
    use super::*;

    const CHILD: &str = "DDPM_PLANTED_BUG";

    /// The report of the case `kernel`, or nothing if it passed unnoticed.
    fn report(test: &str, kernel: &str) -> String {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args([test, "--exact", "--nocapture"]).env(CHILD, kernel).output().unwrap();
        if output.status.success() {
            return String::new();
        }
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Each case must be reported in one of the `wanted` ways.
    fn check(test: &str, wanted: &[&str], cases: &[Launch]) {
        if let Ok(kernel) = std::env::var(CHILD) {
            let case = cases.iter().find(|case| case.kernel == kernel).unwrap();
            schedules().for_each(|options| drop(case.run(hopper::hopper(options))));
        } else {
            cases.iter().for_each(|case| check_report(&report(test, case.kernel), wanted, case.kernel));
        }
    }

    fn check_report(report: &str, wanted: &[&str], kernel: &str) {
        assert!(wanted.iter().any(|text| report.contains(text)), "{kernel}: {report:?}");
        let has_place = ["tests/emu/", "kernels/self_test/"].iter().any(|place| report.contains(place));
        assert!(has_place, "{kernel}: {report:?}");
    }

    #[cfg(ddpm_emu_sanitize = "address")]
    #[test]
    fn accesses_out_of_bounds_are_reported() {
        let x = numbers(128);
        let case = |kernel, smem_bytes, operands| Launch { kernel, grid: 1, block: 32, smem_bytes, operands };
        check(
            "sanitized::accesses_out_of_bounds_are_reported",
            &["AddressSanitizer", "runtime error: index 32 out of bounds"],
            &[
                case("global_out_of_bounds", 0, &[Out(32), In(&x[..32]), Int(1)]),
                case("global_write_out_of_bounds", 0, &[Out(32), Int(1)]),
                case("dynamic_shared_out_of_bounds", 128, &[Out(32), Int(1)]),
                case("static_shared_out_of_bounds", 0, &[Out(32), Int(1)]),
                case("copy_out_of_bounds", 512, &[Out(32), In(&x), Int(4)]),
            ],
        );
    }

    /// Inside one allocation, as the tape's arena is: only the declared extent of the argument may be touched.
    #[cfg(ddpm_emu_sanitize = "address")]
    #[test]
    fn a_neighbour_in_the_arena_is_out_of_bounds() {
        let test = "sanitized::a_neighbour_in_the_arena_is_out_of_bounds";
        if std::env::var(CHILD).is_ok() {
            let emu = Emu::new(EmuOptions::default()).unwrap();
            let arena = emu.alloc(4096).unwrap();
            let tensor = |offset, bytes| KernelArg::Pointer { address: arena.address + offset, bytes };
            let args = vec![tensor(0, 128), tensor(512, 128), KernelArg::I32(1)];
            let kernel = "global_out_of_bounds".to_string();
            let _ = emu.launch(&KernelCall { kernel, layer: "".into(), grid: [1; 3], block: 32, smem_bytes: 0, args });
        } else {
            let report = report(test, "global_out_of_bounds");
            assert!(report.contains("use-after-poison"), "{report:?}");
        }
    }

    #[cfg(ddpm_emu_sanitize = "thread")]
    #[test]
    fn data_races_are_reported() {
        let x = numbers(TILES * 256);
        let tiles = [Out(256), In(&x), Int(TILES as i32)];
        let product = launch::hopper::Product::new("product_no_full_wait", 64, false, false, 3);
        let operands = product.operands();
        check(
            "sanitized::data_races_are_reported",
            &["ThreadSanitizer: data race"],
            &[
                sum_blocks("sum_blocks_missing_barrier", &[Out(3), In(&x)]),
                sum_tiles("sum_tiles_missing_barrier", &tiles),
                product.launch(&operands),
            ],
        );
    }
}
