//! Stages that train.

use super::{Done, TINY, Work, output, require, skip};
use crate::Device;
use crate::process::run_interrupted;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

/// Trains to the end or until so little is left of the stage that samples can still be drawn, and keeps what there is to look
/// at. A run that was cut goes on.
fn train(work: &Work, arguments: &[&str]) -> Done {
    const SAMPLES: Duration = Duration::from_secs(25);
    let mut command = work.ddpm(["train", "--device", work.device.name(), "--out", "run", "--resume"]);
    let (status, interrupted) = run_interrupted(command.args(arguments), work.left().saturating_sub(SAMPLES))?;
    require(status.success() || interrupted, &format!("ddpm train: {status}"))?;
    if interrupted {
        let sample = ["sample", "run", "--device", work.device.name(), "--n", "64", "--steps", "50"];
        output(work.ddpm(sample).args(["--sampler", "ddim", "--out", "run/sheet.png"]))?;
    }
    let mut files: Vec<String> = ["run/config.toml", "run/loss.svg", "run/sheet.png"].map(String::from).into();
    files.extend(last_sheets(Path::new("run/samples"), 2)?);
    for file in files.iter().filter(|file| Path::new(file).is_file()) {
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
        work.keep(file, &format!("{}-{name}", work.stage.name))?;
    }
    let metrics = fs::read_to_string("run/metrics.jsonl")?;
    require(Command::new("gzip").args(["-kf", "run/metrics.jsonl"]).status()?.success(), "gzip failed")?;
    work.keep("run/metrics.jsonl.gz", &format!("{}-metrics.jsonl.gz", work.stage.name))?;
    let last = metrics.lines().last().unwrap_or_default();
    work.fact("last_step", last)?;
    Ok(work.note(last.chars().take(120).collect::<String>())?)
}

/// The last sheets of samples of a run, by name.
fn last_sheets(folder: &Path, n: usize) -> io::Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let paths: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut sheets: Vec<String> = paths?.iter().map(|path| path.display().to_string()).collect();
    sheets.retain(|path| path.ends_with(".png"));
    sheets.sort();
    Ok(sheets.split_off(sheets.len().saturating_sub(n)))
}

pub fn mnist(work: &Work) -> Done {
    if work.amount() != Device::Cuda {
        let few = ["--set", "train.steps=3", "--set", "sample.n=4", "--set", "sample.steps=2"];
        return train(work, &[&TINY[..], &few].concat());
    }
    let data = work.bundle.join("data/mnist");
    if !data.is_dir() {
        return Err(skip("this bundle has no MNIST"));
    }
    let (data, every) = (data.display().to_string(), "train.checkpoint_every=2000");
    // 18,831 training images of digits 1, 2, 3: 50 epochs of 589 batches.
    train(work, &["--preset", "mnist-123", "--data", &data, "--set", "train.steps=29450", "--set", every])
}

pub fn cifar10(work: &Work) -> Done {
    if work.amount() != Device::Cuda {
        return Err(skip("takes a GPU"));
    }
    let data = work.bundle.join("data/cifar10");
    if !data.is_dir() {
        return Err(skip("this bundle has no CIFAR-10"));
    }
    let data = data.display().to_string();
    let settings =
        ["train.steps=20000", "train.checkpoint_every=2000", "train.sample_every=0"].map(|setting| ["--set", setting]);
    train(work, &[&["--preset", "ddpm-cifar10", "--data", &data], settings.as_flattened()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sheets_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["step-3.png", "step-1.png", "step-2.png", "step-9.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let sheets = last_sheets(folder.path(), 2).unwrap();
        assert!(sheets[0].ends_with("step-2.png") && sheets[1].ends_with("step-3.png"), "{sheets:?}");
        assert_eq!(last_sheets(folder.path(), 5).unwrap().len(), 3);
        assert!(last_sheets(Path::new("/nowhere/at/all"), 2).unwrap().is_empty());
    }
}
