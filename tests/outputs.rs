//! Samples as files that other programs read, under names that say what is in them.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tiny::{ddpm, run_in, train};

mod tiny;

/// A network of the digits 1, 2 and 3, which are its classes 0, 1 and 2.
fn digits_run(folder: &TempDir) -> PathBuf {
    let run = run_in(folder, "digits");
    train(&run, &["--set", "data.classes=[1,2,3]", "--set", "model.classes=3", "--set", "train.steps=2"]);
    run
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

/// Draws samples; returns what is printed.
fn sample(run: &Path, more: &[&str]) -> String {
    let assert = ddpm().args(["sample", "--device", "cpu"]).arg(run).args(more).assert().success();
    text(&assert.get_output().stdout)
}

/// Expects a refusal before anything is drawn; returns its line.
fn refused(run: &Path, more: &[&str]) -> String {
    let assert = ddpm().args(["sample", "--device", "cpu"]).arg(run).args(more).assert().failure();
    let output = text(&assert.get_output().stderr);
    output.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{output}")).to_owned()
}

#[test]
fn classes_are_asked_for_by_name_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = digits_run(&folder);
    let out = folder.path().join("twos.npz").display().to_string();
    let said = sample(&run, &["-n", "3", "--class", "2", "--out", &out]);
    assert!(said.contains("3 samples of 2 (class number 1, counted from 0)"), "{said}");
    let checkpoint = run.join("checkpoints/step-00000002.safetensors");
    let by_number = folder.path().join("first.npz").display().to_string();
    let said = sample(&checkpoint, &["-n", "3", "--class", "0", "--out", &by_number]);
    assert!(said.contains("samples of 1 (class number 0"), "the names travel with the checkpoint: {said}");
    assert!(refused(&run, &["--class", "7"]).contains("the model knows 3 classes: 1, 2, 3"));
    assert!(sample(&run, &["-n", "4"]).contains("4 samples of 3 classes in turn"));
}

#[test]
fn an_output_is_what_its_name_says_or_is_refused_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let run = digits_run(&folder);
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (name, words) in [("x.jpg", "images are written as .png"), ("nofolder/x.png", "nofolder"), ("x.csv", ".npz")] {
        // Evaluations without end, were they begun.
        let line = refused(&run, &["-n", "1000000", "--out", &at(name)]);
        assert!(line.contains(words), "{name}: {line}");
    }
    let line = refused(&run, &["-n", "1000000", "--strip", &at("strip.gif")]);
    assert!(line.contains("strip.gif"), "{line}");
    sample(&run, &["-n", "5", "--out", &at("single/")]);
    let names: Vec<String> =
        fs::read_dir(at("single")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 5);
    assert!(names.contains(&"1_000004.png".to_owned()), "{names:?}");
    assert!(refused(&run, &["-n", "5", "--out", &at("single/")]).contains("not empty"));
}

#[test]
fn folders_and_archives_of_samples_are_compared_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let run = digits_run(&folder);
    let at = |name: &str| folder.path().join(name).display().to_string();
    sample(&run, &["-n", "8", "--out", &at("a.npz")]);
    sample(&run, &["-n", "8", "--out", &at("b/")]);
    sample(&run, &["-n", "8", "--seed", "1", "--out", &at("c/")]);
    let energy = |first: &str, second: &str| {
        let args = ["eval", first, second, "--metrics", "moments", "--json", "--device", "cpu"];
        let assert = ddpm().args(args).assert().success();
        let json: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        json.to_string()
    };
    let same = energy(&at("a.npz"), &at("b/"));
    let other = energy(&at("c/"), &at("b/"));
    assert!(same.contains("\"n\":8") && same != other, "{same}\n{other}");
}
