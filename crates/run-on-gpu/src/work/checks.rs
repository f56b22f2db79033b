//! Stages that show that the program is right.

use super::tests::run_tests;
use super::{Done, Stop, TINY, Work, fail, kernels, output, require};
use crate::Device;
use crate::process::{Streams, run_read};
use std::fs;
use std::process::Command;

pub fn device(work: &Work) -> Done {
    output(Command::new("uname").arg("-srm"))?;
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    println!("{}", processor.lines().find(|line| line.starts_with("model name")).unwrap_or_default());
    if run_read(&mut Command::new("nvidia-smi"), Streams::Both).is_err() {
        println!("no nvidia-smi");
    }
    let text = output(&mut work.ddpm(["devices"]))?;
    work.fact("devices", &output(&mut work.ddpm(["devices", "--json"]))?)?;
    let name = if work.on_gpu() { "cuda:0" } else { work.device.name() };
    let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_default();
    work.note(line.split_once(' ').map_or("", |(_, rest)| rest.trim_start()))?;
    if work.on_gpu() {
        require(runs_machine_code(line), "the GPU does not run machine code that was in the program")?;
    }
    let ceilings = output(&mut work.ddpm(["bench", "ceilings", "--json", "--device", work.device.name()]))?;
    Ok(work.fact("ceilings", &ceilings)?)
}

/// Returns true for machine code that was in the program, not made by the driver of its PTX.
fn runs_machine_code(line: &str) -> bool {
    let code = line.rsplit_once(" runs sm_").map_or("", |(_, code)| code);
    !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit())
}

pub fn robustness(work: &Work) -> Done {
    let mut without_gpu = work.ddpm(["bench", "train", "--json", "--steps", "1", "--warmup", "0"]);
    let (_, text) = run_read(without_gpu.args(TINY).env("CUDA_VISIBLE_DEVICES", ""), Streams::Both)?;
    let falls_back = text.lines().any(|line| line.starts_with("computing on the CPU ("));
    require(falls_back && text.contains(r#""device":"cpu "#), "without a GPU it does not say that it uses the CPU")?;
    if work.device == Device::Cpu {
        return Ok(());
    }
    let mut too_large = work.ddpm(["bench", "train", "--device", work.device.name(), "--set"]);
    if work.device == Device::Emu {
        too_large.arg("train.batch_size=512").env("DDPM_EMU", "memory=60000000");
    } else {
        // The largest that a grid can have: a terabyte.
        too_large.args(["train.batch_size=65535", "--preset", "ddpm-cifar10"]);
    }
    let (status, text) = run_read(&mut too_large, Streams::Both)?;
    require(!status.success(), "a batch that cannot fit was accepted")?;
    require(text.lines().any(proposes_a_batch), "no error names the bytes and the batch that would fit")
}

/// Returns true for the error `...out of memory: N bytes wanted, N of N free; train.batch_size = N would fit...`.
fn proposes_a_batch(line: &str) -> bool {
    let Some(mut rest) = line.strip_prefix("error: ").and_then(|line| line.split_once("out of memory: ")).map(|s| s.1)
    else {
        return false;
    };
    [" bytes wanted, ", " of ", " free; train.batch_size = ", " would fit"].iter().all(|after_number| {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.strip_prefix(after_number).map(|after| rest = after).is_some()
    })
}

pub fn wrappers(work: &Work) -> Done {
    if work.device == Device::Cpu {
        return Err(super::skip("there are no kernels on the CPU"));
    }
    let mut test = work.test("wrappers");
    if work.on_gpu() {
        test.env("DDPM_WRITE_GOLDEN", work.results.join("wrappers.txt"));
    }
    let kernels = kernels::Launched::empty(work)?;
    let tests = run_tests(work, vec![kernels.written_by(test)]);
    kernels.check(work, |test| !test.contains("::")).and(tests)
}

pub fn ops(work: &Work) -> Done {
    // In processes of their own: Hopper's kernels, of which one that waits without end keeps all tests beside it from ending.
    const HOPPER: [&str; 2] = ["engine::ops::attention::hopper", "engine::ops::conv2d::hopper"];
    let mut rest = work.test("unit");
    if work.on_gpu() {
        // Tests of random streams and of others' files need no GPU, but the source tree, which is not here; the CPU's loops
        // need none either.
        let skipped = ["engine::random", "nn::model_folder", "nn::torch_file", "conv2d::cpu"];
        rest.args(["engine::", "nn::"]).args(skipped.into_iter().flat_map(|filter| ["--skip", filter]));
    } else {
        rest.arg("ops::");
    }
    rest.args(HOPPER.into_iter().flat_map(|filter| ["--skip", filter]));
    let hopper = HOPPER.map(|filter| {
        let mut test = work.test("unit");
        test.arg(filter);
        test
    });
    let kernels = kernels::Launched::empty(work)?;
    let tests = [rest].into_iter().chain(hopper).map(|test| kernels.written_by(test));
    let tests = run_tests(work, tests.collect());
    kernels.check(work, |test| test.contains("::")).and(tests)
}

pub fn parity(work: &Work) -> Done {
    run_tests(work, vec![work.test("whole_step")])
}

pub fn program(work: &Work) -> Done {
    // The others run on the CPU whatever the device.
    let names: &[&str] = match work.amount() {
        Device::Emu => &["golden_schedulers"],
        _ => &["golden_forward", "golden_schedulers", "train", "cli"],
    };
    run_tests(work, names.iter().map(|name| work.test(name)).collect())
}

pub fn determinism(work: &Work) -> Done {
    let steps: u32 = if work.amount() == Device::Emu { 6 } else { 200 };
    let settings: &[&str] = if work.amount() == Device::Cuda {
        &["--set", "train.lr_schedule=constant", "--set", "sample.n=0"]
    } else {
        &TINY
    };
    let train = |name: &str, steps_now: u32, more: &[&str]| {
        let mut command = work.ddpm(["train", "--device", work.device.name(), "--out", name]);
        command.args(settings).args(["--set", "train.warmup_steps=0"]).args(more);
        command.args(["--set", &format!("train.steps={steps_now}")]);
        command.args(["--set", &format!("train.checkpoint_every={}", steps / 2)]);
        let trained = command.output()?;
        require(trained.status.success(), &String::from_utf8_lossy(&trained.stderr))
    };
    for name in ["first", "second", "resumed"] {
        if fs::exists(name)? {
            fs::remove_dir_all(name)?;
        }
    }
    train("first", steps, &[])?;
    train("second", steps, &[])?;
    train("resumed", steps / 2, &[])?;
    train("resumed", steps, &["--resume"])?;
    let path = |run: &str| format!("{run}/checkpoints/step-{steps:08}.safetensors");
    let checkpoint = |run: &str| fs::read(path(run)).map_err(|error| fail(format!("{}: {error}", path(run))));
    let first = checkpoint("first")?;
    for other in ["second", "resumed"] {
        require(checkpoint(other)? == first, &format!("{} and {} differ", path("first"), path(other)))?;
    }
    output(Command::new("sha256sum").arg(path("first")))?;
    work.note(format!("{steps} steps: two runs and a resumed one are equal")).map_err(Stop::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_and_what_the_driver_compiled() {
        assert!(runs_machine_code("cuda:0   NVIDIA H200 (cuda:0), 150,000 MB, runs sm_90"));
        assert!(!runs_machine_code("cuda:0   NVIDIA B200 (cuda:0), 150,000 MB, runs sm_100 compiled from compute_80"));
        assert!(!runs_machine_code("cuda:0   there is no such GPU"));
    }

    #[test]
    fn the_error_that_proposes_a_batch() {
        let error = "error: device emu: out of memory: 70 bytes wanted, 1 of 60 free; train.batch_size = 8 would fit";
        assert!(proposes_a_batch(error));
        assert!(!proposes_a_batch("error: out of memory: 70 bytes wanted, 1 of 60 free"));
        assert!(!proposes_a_batch(&error.replace("error: ", "warning: ")));
    }
}
