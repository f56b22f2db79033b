//! The wrappers of single instructions, and the functions that must agree on every device, on the emulator and on a GPU:
//! against plain arithmetic, and the emulator against what a GPU gave (`tests/golden/wrappers.txt`).
//!
//! `DDPM_WRITE_GOLDEN=FILE` writes that file, from a GPU alone. All cases are run before a test fails.

#[path = "wrappers/case.rs"]
mod case;
#[path = "wrappers/golden.rs"]
mod golden;
#[path = "wrappers/hopper.rs"]
mod hopper;
#[path = "wrappers/instructions.rs"]
mod instructions;
mod launch;
#[path = "wrappers/processes.rs"]
mod processes;

use case::{Case, words_of};
use ddpm::engine::device::{Capability, Cuda, Driver, Emu, EmuOptions};
use ddpm::engine::ops::check::{has_gpu, is_wanted, witnessed};
use golden::{golden, recorded};
use instructions::{exact_normals, normals};
use launch::Operand::Out;
use launch::{Launch, schedules};
use std::fs;
use std::time::Duration;

fn gpu() -> Option<Box<dyn Driver>> {
    has_gpu().then(|| witnessed(Box::new(Cuda::new(0).expect("it answered before")), "cuda"))
}

/// The emulator as the newest GPU that it can be, under some schedules, where tests run on it.
fn emulators(schedules: impl Iterator<Item = EmuOptions>) -> Vec<Box<dyn Driver>> {
    let newest = schedules.filter(|_| is_wanted("emu")).map(|o| EmuOptions { compute_capability: (9, 0), ..o });
    newest.filter_map(|options| Emu::new(options).ok()).map(|emu| witnessed(Box::new(emu), "emu")).collect()
}

/// Reason to skip a test where neither the emulator nor a GPU is.
const NO_DEVICE: &str = "neither the emulator nor a GPU is here, or none is asked for";

/// Cases that a device can run.
fn cases_for(driver: &dyn Driver) -> Vec<Case> {
    let mut cases = instructions::cases();
    if Capability::of(driver.compute_capability()) == Capability::Hopper {
        cases.extend(hopper::cases());
    }
    cases
}

#[test]
fn wrappers_do_what_arithmetic_says() {
    // ThreadSanitizer sees a race in any order, and is slow.
    let enough = if cfg!(ddpm_emu_sanitize = "thread") { 2 } else { usize::MAX };
    let emulators = emulators(schedules().take(enough));
    let golden = std::env::var_os("DDPM_WRITE_GOLDEN");
    assert!(golden.is_none() || has_gpu(), "DDPM_WRITE_GOLDEN is for a GPU: the emulator is not compared with itself");
    if emulators.is_empty() && !has_gpu() {
        ddpm::skip!("{NO_DEVICE}");
    }
    let mut failures = Vec::new();
    for driver in &emulators {
        for case in cases_for(driver.as_ref()) {
            let failure = match (case.run)(driver.as_ref()) {
                Ok(words) => case.mismatch(&words),
                Err(error) => Some(error.to_string()),
            };
            failures.extend(failure.map(|failure| format!("{} on {}: {failure}", case.name, driver.name())));
        }
    }
    if let Some(gpu) = gpu() {
        if let Some(file) = &golden {
            let (major, minor) = gpu.compute_capability();
            fs::write(file, golden::header(&format!("{}, compute capability {major}.{minor}", gpu.name()))).unwrap();
        }
        let on_gpu = processes::run("cases_of_a_gpu", golden.as_deref());
        failures.extend(on_gpu.into_iter().map(|failure| format!("{failure} on {}", gpu.name())));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
#[ignore = "a part of wrappers_do_what_arithmetic_says, in processes of its own"]
fn cases_of_a_gpu() {
    let gpu = gpu().expect("a GPU that is asked for");
    let cases = cases_for(gpu.as_ref());
    processes::child("wrappers_do_what_arithmetic_says", gpu, cases, Duration::from_secs(5));
}

/// A belief that is wrong, a context that is lost, a barrier that is never completed: the other cases are run all the same.
#[test]
fn what_becomes_of_one_case_hides_no_other() {
    if emulators([EmuOptions::default()].into_iter()).is_empty() {
        ddpm::skip!("no emulator is here, or none is asked for");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("golden");
    let failures = processes::run("planted_cases", Some(file.as_os_str()));
    let beginnings = [
        "wrong: 1 of 128 words are wrong: [7] is 0 instead of 1",
        "fails: device emu: kernel no_such_kernel",
        "panics: it panicked",
        "hangs: it does not end within",
        "aborts: its process ended by itself",
    ];
    assert_eq!(failures.len(), beginnings.len(), "{failures:?}");
    for (failure, beginning) in failures.iter().zip(beginnings) {
        assert!(failure.starts_with(beginning), "{failure}");
    }
    let text = fs::read_to_string(&file).unwrap();
    let mut names: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
    names.dedup();
    assert_eq!(names, ["first", "wrong", "between", "last"]);
}

#[test]
#[ignore = "a part of what_becomes_of_one_case_hides_no_other, in processes of its own"]
fn planted_cases() {
    let of = |kernel| {
        move |driver: &dyn Driver| {
            words_of(driver, Launch { kernel, grid: 2, block: 64, smem_bytes: 0, operands: &[Out(128)] })
        }
    };
    let right = |name: &str| Case::bits(name, vec![0; 128], of("wrapper_warp"));
    let mut wrong = vec![0; 128];
    wrong[7] = 1;
    let cases = vec![
        right("first"),
        Case::bits("wrong", wrong, of("wrapper_warp")),
        Case::bits("fails", vec![], of("no_such_kernel")),
        right("between"),
        Case::bits("panics", vec![], |_| panic!("as planted")),
        Case::bits("hangs", vec![], |_| {
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        }),
        Case::bits("aborts", vec![], |_| std::process::abort()),
        right("last"),
    ];
    let emulator = emulators([EmuOptions::default()].into_iter()).remove(0);
    processes::child("planted", emulator, cases, Duration::from_secs(10));
}

#[test]
fn many_normals_are_accurate_and_normal() {
    const N: usize = 1 << 18;
    let exact = exact_normals(N);
    let drivers: Vec<_> = emulators([EmuOptions::default()].into_iter()).into_iter().chain(gpu()).collect();
    if drivers.is_empty() {
        ddpm::skip!("{NO_DEVICE}");
    }
    for driver in drivers {
        let words = normals(driver.as_ref(), N).unwrap();
        let normals: Vec<f64> = words.into_iter().map(|word| f64::from(f32::from_bits(word))).collect();
        for (got, want) in normals.iter().zip(&exact) {
            assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{got} for {want} on {}", driver.name());
        }
        let moment = |k: i32| normals.iter().map(|z| z.powi(k)).sum::<f64>() / N as f64;
        // Five standard errors of the mean of z^k: the variance of z^k is (2k - 1)!! - E[z^k]^2.
        let se = |variance: f64| 5.0 * (variance / N as f64).sqrt();
        assert!(moment(1).abs() <= se(1.0), "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() <= se(2.0), "variance {}", moment(2));
        assert!(moment(3).abs() <= se(15.0), "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() <= se(96.0), "fourth moment {}", moment(4));
    }
}

#[test]
fn the_emulator_gives_what_a_gpu_gave() {
    let cases = instructions::cases().into_iter().chain(hopper::cases()).collect::<Vec<_>>();
    let golden = golden(include_str!("golden/wrappers.txt"));
    for name in golden.keys() {
        assert!(cases.iter().any(|case| case.name == *name), "tests/golden/wrappers.txt has {name}, which no case is");
    }
    let drivers: Vec<_> = emulators([EmuOptions::default()].into_iter()).into_iter().chain(gpu()).collect();
    let mut failures = Vec::new();
    for case in &cases {
        let Some(want) = golden.get(case.name.as_str()) else {
            println!("not compared: no GPU has run {} yet", case.name);
            continue;
        };
        if !case.exact {
            failures.extend(case.mismatch(want).map(|failure| format!("{} of the golden file: {failure}", case.name)));
            continue;
        }
        for driver in &drivers {
            if cases_for(driver.as_ref()).iter().any(|other| other.name == case.name) {
                let got = (case.run)(driver.as_ref()).map(|words| recorded(&words));
                if !got.as_ref().is_ok_and(|got| got == want) {
                    failures.push(format!("{} on {}: {got:x?} instead of {want:x?}", case.name, driver.name()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
