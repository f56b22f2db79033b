//! The emulator against itself: kernels with one planted bug each are caught, correct ones give the same result under
//! every schedule, and the wrappers of single instructions do what the hardware's manual says.
#![cfg(ddpm_emu)]

#[path = "emu/hopper.rs"]
mod hopper;

use ddpm::device::{AsyncCopies, Driver, Emu, EmuOptions, KernelArg, KernelCall, Schedule, TensorMap};

// SAFETY: nothing is declared. The line links the kernels of tests/emu, which enter themselves into the emulator's table.
#[link(name = "ddpm_emu_tests", kind = "static", modifiers = "+whole-archive")]
unsafe extern "C" {}

const SEEDS: u64 = 10;

/// Everything that can hide or expose a race.
fn schedules() -> impl Iterator<Item = EmuOptions> {
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

/// An operand of a launch: an array to write (NaN before), an array to read, either as boxes, or a number.
enum Operand<'a> {
    Out(usize),
    In(&'a [f32]),
    Words(&'a [u32]),
    OutBoxes(usize, TensorMap),
    Boxes(&'a [u32], TensorMap),
    Int(i32),
}
use Operand::{Boxes, In, Int, Out, OutBoxes, Words};

struct Launch<'a> {
    kernel: &'a str,
    grid: u32,
    block: u32,
    smem_bytes: u32,
    operands: &'a [Operand<'a>],
}

impl Launch<'_> {
    /// Runs once; returns the arrays that were written.
    fn run(&self, options: EmuOptions) -> ddpm::Result<Vec<Vec<u32>>> {
        let emu = Emu::new(options)?;
        let mut outputs = Vec::new();
        let mut args = Vec::new();
        for operand in self.operands {
            let (bytes, data): (usize, &[u8]) = match operand {
                Out(n) | OutBoxes(n, _) => (n * 4, &[]),
                In(values) => (values.len() * 4, bytemuck::cast_slice(values)),
                Words(words) | Boxes(words, _) => (words.len() * 4, bytemuck::cast_slice(words)),
                Int(value) => {
                    args.push(KernelArg::I32(*value));
                    continue;
                }
            };
            let memory = emu.alloc(bytes)?;
            emu.upload(memory.address, data)?;
            let address = memory.address;
            args.push(match *operand {
                OutBoxes(_, map) | Boxes(_, map) => KernelArg::TensorMap { address, bytes, map },
                _ => KernelArg::Pointer { address, bytes },
            });
            if let Out(n) | OutBoxes(n, _) = operand {
                outputs.push((address, *n));
            }
        }
        let (kernel, smem_bytes) = (self.kernel.to_string(), self.smem_bytes);
        emu.launch(&KernelCall { kernel, grid: [self.grid, 1, 1], block: self.block, smem_bytes, args })?;
        outputs
            .into_iter()
            .map(|(address, n)| {
                let mut words = vec![0u32; n];
                emu.download(address, bytemuck::cast_slice_mut(&mut words)).map(|()| words)
            })
            .collect()
    }

    fn run_floats(&self, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
        Ok(self.run(options)?.swap_remove(0).into_iter().map(f32::from_bits).collect())
    }

    /// The message of the error that a fault must give.
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

const TILES: usize = 6;

fn expected_sums(x: &[f32]) -> Vec<f32> {
    x.chunks(256).map(|block| block.iter().sum()).collect()
}

fn expected_tile_sums(x: &[f32]) -> Vec<f32> {
    (0..256).map(|i| (0..TILES).map(|t| x[t * 256 + 255 - i]).sum()).collect()
}

#[test]
fn correct_kernels_give_the_same_result_under_every_schedule() {
    let (x, tiles) = (numbers(3 * 256), numbers(TILES * 256));
    for options in schedules() {
        let sums = sum_blocks("sum_blocks", &[Out(3), In(&x)]).run_floats(options).unwrap();
        assert_eq!(sums, expected_sums(&x), "{options:?}");
        let sums = sum_tiles("sum_tiles", &[Out(256), In(&tiles), Int(TILES as i32)]).run_floats(options).unwrap();
        assert_eq!(sums, expected_tile_sums(&tiles), "{options:?}");
        let ball = Launch { kernel: "ping_pong", grid: 1, block: 64, smem_bytes: 4, operands: &[Out(1), Int(9)] };
        assert_eq!(ball.run_floats(options).unwrap(), [36.0], "{options:?}");
        let warp = Launch { kernel: "warp_operations", grid: 2, block: 64, smem_bytes: 0, operands: &[Out(64)] };
        assert_eq!(warp.run(options).unwrap(), [vec![0; 64]], "{options:?}");
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
    let call = KernelCall { kernel: "deadlock".into(), grid: [1; 3], block: 32, smem_bytes: 0, args };
    let error = emu.launch(&call).unwrap_err().to_string();
    assert!(error.contains("outside every allocation"), "{error}");
}

#[test]
fn unwritten_shared_memory_is_nan() {
    let launch = Launch { kernel: "reads_unwritten_shared", grid: 2, block: 64, smem_bytes: 256, operands: &[Out(64)] };
    assert!(launch.run_floats(EmuOptions::default()).unwrap().iter().all(|v| v.is_nan()));
}

/// Rounded to bf16, two to a word.
fn bf16(values: &[f32]) -> Vec<u32> {
    let halves = values.chunks(2).map(|p| [half::bf16::from_f32(p[0]), half::bf16::from_f32(p[1])]);
    halves.map(|[low, high]| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16).collect()
}

#[test]
fn a_matrix_product_from_fragments_agrees_with_f64() {
    // Multiples of 1/8 below 64 are exact in bf16, and so are their products and sums in f32.
    let a: Vec<f32> = (0..256).map(|i| ((i * 29) % 97) as f32 / 8.0 - 6.0).collect();
    let b: Vec<f32> = (0..128).map(|i| ((i * 53) % 89) as f32 / 8.0 - 5.0).collect(); // [16, 8]
    let b_columns: Vec<f32> = (0..128).map(|i| b[i % 16 * 8 + i / 16]).collect();
    let expected: Vec<f64> =
        (0..128).map(|i| (0..16).map(|k| f64::from(a[i / 8 * 16 + k]) * f64::from(b[k * 8 + i % 8])).sum()).collect();
    for (kernel, b) in [("multiply", &b_columns), ("multiply_transposed", &b)] {
        for options in schedules() {
            let (a, b) = (bf16(&a), bf16(b));
            let operands = [Out(128), Words(&a), Words(&b)];
            let c = Launch { kernel, grid: 1, block: 32, smem_bytes: 1024, operands: &operands }.run_floats(options);
            let c: Vec<f64> = c.unwrap().into_iter().map(f64::from).collect();
            assert_eq!(c, expected, "{kernel}");
        }
    }
}

/// Known answers of Random123, the authors' implementation.
#[test]
fn philox_gives_the_published_words() {
    let block = |counter: [u32; 4], key: [u32; 2]| {
        let operands = [Out(4), Words(&counter), Words(&key)];
        let launch = Launch { kernel: "philox_block", grid: 1, block: 1, smem_bytes: 0, operands: &operands };
        launch.run(EmuOptions::default()).unwrap().swap_remove(0)
    };
    let ones = 0xffff_ffff;
    assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(block([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let pi_counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    assert_eq!(block(pi_counter, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn normals_are_accurate_and_normal() {
    const N: usize = 1 << 18;
    let rng = [7, 9, 2, 0];
    let operands = [Out(N), Out(N), Words(&rng)];
    let launch = Launch { kernel: "normals", grid: (N / 1024) as u32, block: 256, smem_bytes: 0, operands: &operands };
    let outputs = launch.run(EmuOptions::default()).unwrap();
    let normals: Vec<f64> = outputs[0].iter().map(|&bits| f64::from(f32::from_bits(bits))).collect();
    let uniform = |word: u32| f64::from((((word >> 8) as f32 + 0.5) / (1 << 24) as f32).min(1.0 - f32::EPSILON / 2.0));
    for (words, normals) in outputs[1].chunks(2).zip(normals.chunks(2)) {
        let radius = (-2.0 * uniform(words[0]).ln()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * uniform(words[1]);
        for (got, want) in normals.iter().zip([radius * angle.cos(), radius * angle.sin()]) {
            assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{got} for {want} from {words:x?}");
        }
    }
    let moment = |k: i32| normals.iter().map(|z| z.powi(k)).sum::<f64>() / N as f64;
    // Five standard errors of the mean of z^k: the variance of z^k is (2k - 1)!! - E[z^k]^2.
    let se = |variance: f64| 5.0 * (variance / N as f64).sqrt();
    assert!(moment(1).abs() <= se(1.0), "mean {}", moment(1));
    assert!((moment(2) - 1.0).abs() <= se(2.0), "variance {}", moment(2));
    assert!(moment(3).abs() <= se(15.0), "skewness {}", moment(3));
    assert!((moment(4) - 3.0).abs() <= se(96.0), "fourth moment {}", moment(4));
}

/// What a sanitizer finds ends the process: each case runs in a child, which is this test with a variable set.
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
            return;
        }
        for case in cases {
            let report = report(test, case.kernel);
            assert!(wanted.iter().any(|text| report.contains(text)), "{}: {report:?}", case.kernel);
            assert!(report.contains("tests/emu/"), "{}: {report:?}", case.kernel);
        }
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
            let _ = emu.launch(&KernelCall { kernel, grid: [1; 3], block: 32, smem_bytes: 0, args });
            return;
        }
        let report = report(test, "global_out_of_bounds");
        assert!(report.contains("use-after-poison"), "{report:?}");
    }

    #[cfg(ddpm_emu_sanitize = "thread")]
    #[test]
    fn data_races_are_reported() {
        let x = numbers(TILES * 256);
        let tiles = [Out(256), In(&x), Int(TILES as i32)];
        let product = hopper::Product::new("product_no_full_wait", 64, false, false, 3);
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
