//! Stages that measure the program, alone and against PyTorch.

use super::{Done, TINY, Work, fail, output, require, runs, skip};
use crate::Device;
use crate::process::{Streams, run_read};
use serde_json::Value;
use std::fs;
use std::time::Instant;

/// Benchmark models with the batch to measure.
fn models(device: Device) -> &'static [(&'static str, u32)] {
    match device {
        Device::Cuda => {
            &[("ddpm-cifar10", 128), ("mnist-123", 128), ("unet64", 32), ("unet64", 128), ("quickstart", 32)]
        }
        Device::Cpu => &[("quickstart", 32)],
        Device::Emu => &[("quickstart", 1)],
    }
}

/// Input, output channels and kernel of layers of ddpm-cifar10, mnist-123 and unet64, and of a linear one.
const CONVOLUTIONS: [(&str, &str, &str); 6] = [
    ("128x32x32x128", "128", "3"),
    ("128x16x16x256", "256", "3"),
    ("128x8x8x256", "256", "3"),
    ("128x4x4x512", "512", "3"),
    ("32x64x64x64", "64", "3"),
    ("128x16x16x256", "768", "1"),
];

pub fn bench(work: &Work) -> Done {
    let device = work.device.name();
    let (steps, warmup) = match work.device {
        Device::Cuda => ("30", "10"),
        Device::Cpu => ("2", "1"),
        Device::Emu => ("1", "0"),
    };
    let mut step = String::new();
    for &(preset, batch) in models(work.device) {
        let setting = format!("train.batch_size={batch}");
        let model = ["--device", device, "--preset", preset, "--set", &setting];
        let counts = ["--steps", steps, "--warmup", warmup];
        step = output(work.ddpm(["bench", "train", "--json"]).args(model).args(counts))?;
        work.fact(&format!("{preset}-{batch}"), &step)?;
        if work.device != Device::Emu {
            fs::write("kernels.json", output(work.ddpm(["bench", "kernels", "--json"]).args(model))?)?;
            work.keep("kernels.json", &format!("kernels-{preset}-{batch}.json"))?;
            let profile = ["profile", "--device", device, "--preset", preset, "--batch-size", &batch.to_string()];
            fs::write("profile.txt", output(&mut work.ddpm(profile))?)?;
            work.keep("profile.txt", &format!("profile-{preset}-{batch}.txt"))?;
        }
    }
    if work.on_gpu() {
        let mut lines = String::new();
        for (input, channels, kernel) in CONVOLUTIONS {
            lines += &output(&mut work.ddpm([
                "bench",
                "convolution",
                "--json",
                input,
                channels,
                "--kernel",
                kernel,
                "--device",
                "cuda",
            ]))?;
        }
        fs::write("convolutions.jsonl", lines)?;
        work.keep("convolutions.jsonl", "convolutions.jsonl")?;
        let sample = ["bench", "sample", "--json", "--device", "cuda", "--preset", "ddpm-cifar10", "--n", "256"];
        work.fact("sample-ddpm-cifar10", &output(&mut work.ddpm(sample))?)?;
    }
    let one_step_ms = run_of_one_step_ms(work)?;
    work.fact("run_of_one_step_ms", &one_step_ms.to_string())?;
    let step: Value = serde_json::from_str(&step)?;
    Ok(work.note(format!("{} ms a step; a run of one step: {one_step_ms} ms", step["ms_per_step"]))?)
}

/// Milliseconds of a whole run of one step, from the start of the process to its end.
fn run_of_one_step_ms(work: &Work) -> Result<u128, super::Stop> {
    if fs::exists("one")? {
        fs::remove_dir_all("one")?;
    }
    let begin = Instant::now();
    let mut command = work.ddpm(["train", "--device", work.device.name(), "--out", "one", "--set", "train.steps=1"]);
    output(command.args(TINY))?;
    Ok(begin.elapsed().as_millis())
}

pub fn pytorch(work: &Work) -> Done {
    if !work.on_gpu() {
        return Err(skip("compares GPUs"));
    }
    let script = work.bundle.join("benches/compare.py");
    require(script.is_file(), "this bundle has no benches/compare.py")?;
    if !runs("python3", &["-c", "import torch; assert torch.cuda.is_available()"]) {
        return Err(skip("no PyTorch that sees the GPU"));
    }
    // The longest compilation comes last; measurements of a call that was cut are kept.
    for mode in ["eager", "compile", "max-autotune"] {
        for case in ["ddpm-cifar10:128:30", "mnist-123:128:30", "unet64:32:60"] {
            let preset = case.split(':').next().unwrap_or(case);
            let name = format!("{preset}-{mode}");
            let file = format!("{name}.json");
            if fs::metadata(&file).map_or(0, |m| m.len()) == 0 {
                let mut compare = work.command("python3");
                compare.arg(&script).args(["--device", "cuda", "--case", case, "--mode", mode, "--json", &file]);
                let (status, _) = run_read(compare.arg("--ddpm").arg(work.program()), Streams::Both)?;
                require(status.success(), &format!("benches/compare.py: {status}"))?;
            }
            let measured = fs::read_to_string(&file).map_err(|error| fail(format!("{file}: {error}")))?;
            work.fact(&name, &measured)?;
        }
        work.note(format!("{mode} and what is before it"))?;
    }
    Ok(())
}
