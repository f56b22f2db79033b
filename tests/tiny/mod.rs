//! Runs of seconds.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Settings of a run of seconds that uses every part of a run.
const TINY: &[&str] = &[
    "model.image_size=8",
    "model.channels=[8, 16]",
    "model.attention_levels=[1]",
    "model.classes=0",
    "model.groups=4",
    "model.dropout=0.1",
    "data.flip=true",
    "data.limit=100",
    "train.batch_size=4",
    "train.steps=12",
    "train.checkpoint_every=3",
    "train.sample_every=5",
    "sample.n=3",
    "sample.steps=3",
    "sample.guidance=0",
];

/// The arguments of such a run.
pub fn tiny_args(out: &Path) -> Vec<String> {
    let mut args: Vec<String> = ["train", "--device", "cpu", "--out"].map(String::from).into();
    args.push(out.display().to_string());
    args.extend(TINY.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    args
}

/// The program.
pub fn ddpm() -> Command {
    Command::cargo_bin("ddpm").unwrap()
}

/// Trains, with further arguments, and expects success.
#[allow(dead_code)]
pub fn train(out: &Path, more: &[&str]) -> String {
    let assert = ddpm().args(tiny_args(out)).args(more).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// A run directory in a folder.
pub fn run_in(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// The losses of a run of so many steps, as text, and its last checkpoint's bytes.
#[allow(dead_code)]
pub fn result(run: &Path, steps: u64) -> (Vec<String>, Vec<u8>) {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let numbers = |line: &str| line.split(",\"images_per_second\"").next().unwrap().to_owned();
    let checkpoint = run.join(format!("checkpoints/step-{steps:08}.safetensors"));
    (metrics.lines().map(numbers).collect(), fs::read(checkpoint).unwrap())
}
