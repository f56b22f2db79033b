//! Stages that measure the program, alone and against PyTorch.

use super::{Done, TINY, Work, fail, output, require, runs, skip};
use crate::Device;
use crate::process::{Streams, run_read};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Benchmark models with the batch to measure.
fn models(device: Device) -> &'static [(&'static str, u32)] {
    match device {
        Device::Cuda => {
            &[("ddpm-cifar10", 128), ("mnist-123", 128), ("unet64", 32), ("quickstart", 32), ("unet64", 128)]
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

/// One measurement: what it is, and its work.
type Measurement<'a> = (String, Box<dyn Fn() -> Done + 'a>);

/// Takes measurements in their order. Those for which the time of the stage is too short are left out, and the note says so.
pub fn bench(work: &Work) -> Done {
    const ENOUGH: Duration = Duration::from_secs(25);
    let mut left_out = Vec::new();
    for (name, measure) in measurements(work) {
        if work.left() < ENOUGH {
            left_out.push(name);
            continue;
        }
        measure()?;
    }
    let (preset, batch) = models(work.amount())[0];
    let step: Value = serde_json::from_str(&work.fact_text(&format!("{preset}-{batch}"))?)?;
    let one_step_ms = work.fact_text("run_of_one_step_ms").unwrap_or_else(|_| "?".into());
    let mut note = format!("{preset}: {} ms a step; a run of one step: {one_step_ms} ms", step["ms_per_step"]);
    if !left_out.is_empty() {
        note += &format!("; left out for want of time: {}", left_out.join(", "));
    }
    Ok(work.note(note)?)
}

fn measurements(work: &Work) -> Vec<Measurement<'_>> {
    let mut list: Vec<Measurement> = Vec::new();
    for &(preset, batch) in models(work.amount()) {
        list.push((format!("{preset}-{batch}"), Box::new(move || train(work, preset, batch))));
    }
    list.push(("run_of_one_step_ms".into(), Box::new(|| run_of_one_step(work))));
    if work.amount() == Device::Cuda {
        list.push(("convolutions".into(), Box::new(|| convolutions(work))));
    }
    if work.amount() != Device::Emu {
        let (preset, batch) = models(work.amount())[0];
        list.push((format!("kernels of {preset}-{batch}"), Box::new(move || kernels(work, preset, batch))));
    }
    if work.amount() == Device::Cuda {
        list.push(("samples".into(), Box::new(|| samples(work))));
        for &(preset, batch) in &models(work.amount())[1..] {
            list.push((format!("kernels of {preset}-{batch}"), Box::new(move || kernels(work, preset, batch))));
        }
    }
    list
}

/// Training steps of a model.
fn train(work: &Work, preset: &str, batch: u32) -> Done {
    let (steps, warmup) = match work.amount() {
        Device::Cuda => ("30", "10"),
        Device::Cpu => ("2", "1"),
        Device::Emu => ("1", "0"),
    };
    let mut command = work.ddpm(["bench", "train", "--json", "--device", work.device.name(), "--preset", preset]);
    command.args(["--set", &format!("train.batch_size={batch}"), "--steps", steps, "--warmup", warmup]);
    Ok(work.fact(&format!("{preset}-{batch}"), &output(&mut command)?)?)
}

/// The kernels of a model's step beside their floors.
fn kernels(work: &Work, preset: &str, batch: u32) -> Done {
    let device = work.device.name();
    let setting = format!("train.batch_size={batch}");
    let model = ["--device", device, "--preset", preset, "--set", &setting];
    fs::write("kernels.json", output(work.ddpm(["bench", "kernels", "--json"]).args(model))?)?;
    work.keep("kernels.json", &format!("kernels-{preset}-{batch}.json"))?;
    let profile = ["profile", "--device", device, "--preset", preset, "--batch-size", &batch.to_string()];
    fs::write("profile.txt", output(&mut work.ddpm(profile))?)?;
    Ok(work.keep("profile.txt", &format!("profile-{preset}-{batch}.txt"))?)
}

/// Every kernel that can compute one of some layers.
fn convolutions(work: &Work) -> Done {
    let mut lines = String::new();
    for (input, channels, kernel) in CONVOLUTIONS {
        let layer = ["bench", "convolution", "--json", input, channels, "--kernel", kernel, "--device", "cuda"];
        lines += &output(&mut work.ddpm(layer))?;
        fs::write("convolutions.jsonl", &lines)?;
        work.keep("convolutions.jsonl", "convolutions.jsonl")?;
    }
    Ok(())
}

fn samples(work: &Work) -> Done {
    let sample = ["bench", "sample", "--json", "--device", "cuda", "--preset", "ddpm-cifar10", "--n", "64"];
    Ok(work.fact("sample-ddpm-cifar10", &output(&mut work.ddpm(sample))?)?)
}

/// Milliseconds of a whole run of one step, from the start of the process to its end.
fn run_of_one_step(work: &Work) -> Done {
    if fs::exists("one")? {
        fs::remove_dir_all("one")?;
    }
    let begin = Instant::now();
    let mut command = work.ddpm(["train", "--device", work.device.name(), "--out", "one", "--set", "train.steps=1"]);
    output(command.args(TINY))?;
    Ok(work.fact("run_of_one_step_ms", &begin.elapsed().as_millis().to_string())?)
}

/// Times the steps of some models, PRESET:BATCH:STEPS of each turn, in PyTorch in some of its modes and here, in turns.
pub fn pytorch(work: &Work, modes: &[&str], cases: &[&str]) -> Done {
    if !work.on_gpu() {
        return Err(skip("compares GPUs"));
    }
    let script = work.bundle.join("benches/compare.py");
    require(script.is_file(), "this bundle has no benches/compare.py")?;
    if !runs("python3", &["-c", "import torch; assert torch.cuda.is_available()"]) {
        return Err(skip("no PyTorch that sees the GPU"));
    }
    // The longest compilation comes last; measurements of a call that was cut are kept.
    for mode in modes {
        for case in cases {
            let preset = case.split(':').next().unwrap_or_default();
            let name = format!("{preset}-{mode}");
            let file = format!("{name}.json");
            if fs::metadata(&file).map_or(0, |m| m.len()) == 0 {
                let mut compare = work.command("python3");
                compare.arg(&script).args(["--device", "cuda", "--case", case, "--mode", mode, "--json", &file]);
                compare.args(["--rounds", "2"]);
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
