//! Runs of the program on a GPU that is none: through the driver's binding and `src/engine/device/cuda`, against the library
//! of `crates/driver-stand-in`.
//!
//! They need that library and GPU kernels in the program: `scripts/driver-check.sh` runs them.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tiny::{result, run_in, tiny_args};

#[allow(dead_code)]
mod tiny;

/// The shortest run with every part of one: two checkpoints, a validation, samples.
const SHORT: [&str; 6] = [
    "train.steps=3",
    "train.lr_steps=3",
    "train.checkpoint_every=2",
    "train.sample_every=2",
    "sample.n=1",
    "sample.steps=2",
];

/// A run on `cuda` or `emu`, whose device is as the options say.
fn train(device: &str, options: &str, out: &Path, settings: &[&str]) -> Command {
    let mut args = tiny_args(out);
    *args.iter_mut().find(|arg| *arg == "cpu").expect("the device") = device.into();
    args.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
    let variable = if device == "emu" { "DDPM_EMU" } else { "CUDA_STAND_IN" };
    command.args(args).env(variable, options).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The output of a command that ends within five minutes.
fn output(mut command: Command) -> Output {
    let child = command.spawn().unwrap();
    let id = child.id().to_string();
    let (done, is_done) = std::sync::mpsc::channel();
    let guard = std::thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(300)).is_err() {
            Command::new("kill").args(["-9", &id]).status().unwrap();
        }
    });
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    guard.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(300), "{command:?} hangs");
    output
}

fn succeeds(command: Command) {
    let text = format!("{command:?}");
    let output = output(command);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The number of calls of each function of the driver.
fn counts(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(name, calls)| (name.to_owned(), calls.parse().unwrap())).collect()
}

#[test]
#[ignore = "scripts/driver-check.sh"]
fn runs_give_the_bits_of_the_emulator_on_every_generation_and_in_every_order() {
    let folder = tempfile::tempdir().unwrap();
    for (capability, precision) in [("8.0", "f32"), ("8.0", "bf16"), ("9.0", "bf16")] {
        let precision_set = format!("train.precision=\"{precision}\"");
        let settings = [&SHORT[..], &[precision_set.as_str()]].concat();
        let expected = run_in(&folder, &format!("emu-{capability}-{precision}"));
        succeeds(train("emu", &format!("cc={capability}"), &expected, &settings));
        for run in ["late", "early", "coin:1"] {
            let out = run_in(&folder, &format!("cuda-{capability}-{precision}-{run}"));
            succeeds(train("cuda", &format!("cc={capability} run={run}"), &out, &settings));
            assert!(result(&out, 3) == result(&expected, 3), "{capability}, {precision}, {run}");
        }
    }
}

/// The next step is enqueued while one runs; what is waited for is what was read back.
#[test]
#[ignore = "scripts/driver-check.sh"]
fn a_replayed_step_is_one_graph_one_upload_and_one_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let calls_of = |steps: u64| {
        let file = folder.path().join(format!("counts-{steps}"));
        let length = format!("train.steps={steps}");
        let settings = [&length, "train.lr_steps=8", "train.checkpoint_every=0", "train.sample_every=0", "sample.n=0"];
        succeeds(train("cuda", &format!("counts={}", file.display()), &run_in(&folder, &length), &settings));
        counts(&file)
    };
    let (few, many) = (calls_of(4), calls_of(6));
    let added = many.into_iter().map(|(name, calls)| (calls - few[&name], name)).filter(|&(calls, _)| calls > 0);
    let of_a_step: BTreeMap<String, u64> = added.map(|(calls, name)| (name, calls / 2)).collect();
    // Nothing is allocated, and the stream is never waited for. Of five waits for an event three are of pinned memory's own
    // event, which nothing records, and one is for the upload before the last.
    let expected = [
        ("cuCtxGetCurrent", 16),
        ("cuEventCreate", 3),
        ("cuEventDestroy_v2", 3),
        ("cuEventRecord", 3),
        ("cuEventSynchronize", 5),
        ("cuGraphLaunch", 1),
        ("cuMemcpyDtoDAsync_v2", 1),
        ("cuMemcpyDtoHAsync_v2", 1),
        ("cuMemcpyHtoDAsync_v2", 1),
        ("cuStreamWaitEvent", 1),
    ];
    assert_eq!(of_a_step, expected.map(|(name, calls)| (name.to_owned(), calls)).into());
}

/// Lets each function fail at some of its calls: at as many as `DDPM_DRIVER_POSITIONS` says (2 unless set), or at every call
/// with `all`; the functions are those that it names, if it names any.
#[test]
#[ignore = "scripts/driver-check.sh"]
fn a_call_that_fails_is_an_error_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, calls) = (run_in(&folder, "whole"), folder.path().join("calls"));
    succeeds(train("cuda", &format!("counts={}", calls.display()), &whole, &SHORT));
    let positions = std::env::var("DDPM_DRIVER_POSITIONS").unwrap_or("2".into());
    let named = std::env::var("DDPM_DRIVER_FUNCTIONS").unwrap_or_default();
    for (function, calls) in counts(&calls) {
        if !named.is_empty() && !named.split(',').any(|name| name == function) {
            continue;
        }
        let some: u64 = positions.parse().unwrap_or(calls);
        // The last and, going back, evenly spread others: the first is that of a program that has not begun.
        let chosen = (0..some.min(calls)).map(|i| calls - i * calls / some.min(calls));
        for call in chosen {
            fails_at(&folder, &whole, &function, call);
        }
    }
}

fn fails_at(folder: &TempDir, whole: &Path, function: &str, call: u64) {
    let what = format!("{function}, call {call}");
    let out = run_in(folder, &format!("{function}-{call}"));
    let failed = output(train("cuda", &format!("fail={function}:{call}"), &out, &SHORT));
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(!text.contains("panicked") && failed.status.code().is_some(), "{what}: {text}");
    // A name is only asked for to be shown, and what is given back at the end is not missed.
    if !failed.status.success() {
        assert!(text.contains("CUDA_ERROR_UNKNOWN") || text.contains("CUDA error"), "{what}: {text}");
        assert_eq!(failed.status.code(), Some(1), "{what}: {text}");
    }
    if out.join("checkpoints").read_dir().is_ok_and(|mut files| files.next().is_some()) {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
        command.args(["train", "--resume", "--device", "cuda", "--out"]).arg(&out);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !failed.status.success() {
            succeeds(command);
        }
        assert!(result(&out, 3) == result(whole, 3), "{what}");
    }
}

/// The library ends a process that frees pinned memory to which a copy is still under way.
#[test]
#[ignore = "scripts/driver-check.sh"]
fn memory_of_a_copy_outlives_it_where_no_event_could_be_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, trace) = (run_in(&folder, "whole"), folder.path().join("trace"));
    succeeds(train("cuda", &format!("trace={}", trace.display()), &whole, &SHORT));
    let trace = fs::read_to_string(trace).unwrap();
    for copy in ["cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2"] {
        for function in ["cuEventCreate", "cuEventRecord"] {
            let before = trace.lines().take_while(|name| *name != copy).filter(|name| *name == function);
            fails_at(&folder, &whole, function, before.count() as u64 + 1);
        }
    }
}

#[test]
#[ignore = "scripts/driver-check.sh"]
fn memory_that_ends_at_any_allocation_is_an_error_with_both_figures() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_in(&folder, "run");
    for options in ["memory=1M", "memory=9M fail=cuMemAlloc_v2:3:2"] {
        let failed = output(train("cuda", options, &out, &SHORT));
        let text = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{text}");
        assert!(text.contains("out of memory") && text.contains("bytes wanted"), "{text}");
    }
}

fn devices(folder: Option<&Path>, options: &str) -> String {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
    command.arg("devices").env("CUDA_STAND_IN", options);
    if let Some(folder) = folder {
        command.env("LD_LIBRARY_PATH", folder);
    }
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "scripts/driver-check.sh"]
fn every_gpu_is_listed_with_the_code_that_it_runs() {
    for (capability, code) in [
        ("8.0", "sm_80"),
        ("8.6", "sm_80"),
        ("9.0", "sm_90"),
        ("10.3", "sm_100"),
        ("11.0", "sm_110 compiled from compute_80"),
        ("12.0", "sm_120"),
    ] {
        let text = devices(None, &format!("cc={capability} devices=2"));
        for gpu in ["cuda:0", "cuda:1"] {
            let line = text.lines().find(|line| line.starts_with(gpu)).unwrap_or_else(|| panic!("{text}"));
            assert!(line.contains(&format!("compute capability {capability} ")) && line.ends_with(code), "{line}");
        }
    }
    let notes = [("9.0", "", false), ("11.0", "the driver compiles each", true), ("12.0", "for Hopper", true)];
    for (capability, note, is_said) in notes {
        let text = devices(None, &format!("cc={capability}"));
        assert_eq!(text.lines().any(|line| line.starts_with("         (") && line.contains(note)), is_said, "{text}");
    }
    assert!(devices(None, "cc=7.5").contains("8.0 (Ampere) or later is needed"));
}

#[test]
#[ignore = "scripts/driver-check.sh"]
fn drivers_that_are_too_old_or_lack_a_function_are_refused_by_name() {
    let text = devices(None, "version=12090");
    assert!(text.contains("supports CUDA 12.9; CUDA 13.0 (driver 580) or later is needed"), "{text}");
    assert!(devices(None, "devices=0").contains("CUDA_ERROR_NO_DEVICE"));

    // In a copy of the library the function has another name: its hash stays, so nothing finds it under either.
    let library = std::env::var("LD_LIBRARY_PATH").unwrap();
    let library = library.split(':').map(|folder| Path::new(folder).join("libcuda.so")).find(|path| path.is_file());
    let mut bytes = fs::read(library.expect("scripts/driver-check.sh says where it is")).unwrap();
    let name = b"\0cuEventElapsedTime\0";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("an exported function");
    bytes[at + 1] = b'x';
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("libcuda.so"), bytes).unwrap();
    let text = devices(Some(folder.path()), "");
    assert!(text.contains("it has no cuEventElapsedTime;"), "{text}");
}
