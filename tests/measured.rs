//! Runs that measure their samples and keep several averages of the weights: what is trained does not change, nothing is
//! measured twice or left out, and the best step and every average can be chosen.

use ddpm::nn::tensor_file::TensorFile;
use ddpm::train::checkpoint::Checkpoint;
use ddpm::train::model_file::network;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tiny::{ddpm, result, run_in, tiny_args, train};

mod tiny;

/// Measures 20 samples of two digits after every fourth step.
const MEASURED: [&str; 6] =
    ["--set", "data.classes=[1, 4]", "--set", "train.evaluate_every=4", "--set", "train.evaluate_n=20"];

/// A run of points of the plane, which needs no classifier, measured after every third of ten steps.
const POINTS: &[&str] = &[
    "model.architecture=mlp",
    "model.width=16",
    "data.source=clusters",
    "data.limit=0",
    "data.flip=false",
    "diffusion.schedule=vp-cosine",
    "train.steps=10",
    "train.batch_size=16",
    "train.learning_rate=0.01",
    "train.checkpoint_every=2",
    "train.sample_every=0",
    "train.evaluate_every=3",
    "train.evaluate_n=50",
    "sample.n=0",
    "sample.steps=4",
    "sample.guidance=0",
];

/// The arguments of a run of points, with further settings.
fn points(out: &Path, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = ["train", "--device", "cpu", "--out"].map(String::from).into();
    args.push(out.display().to_string());
    args.extend(POINTS.iter().chain(more).flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    args
}

fn stdout(args: &[String]) -> String {
    String::from_utf8_lossy(&ddpm().args(args).assert().success().get_output().stdout).into_owned()
}

/// The measurements of a run but for the time that they took.
fn measurements(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("evaluations.jsonl")).unwrap();
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        assert!(record.as_object_mut().unwrap().remove("seconds").unwrap().as_f64().unwrap() > 0.0);
        record
    };
    text.lines().map(record).collect()
}

fn steps(run: &Path) -> Vec<u64> {
    measurements(run).iter().map(|record| record["step"].as_u64().unwrap()).collect()
}

#[test]
fn measuring_changes_no_bit_and_leaves_the_best_step() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, run, cache) = (run_in(&folder, "plain"), run_in(&folder, "run"), run_in(&folder, "cache"));
    train(&plain, &MEASURED[..2]);
    let assert = ddpm().args(tiny_args(&run)).args(MEASURED).env("XDG_CACHE_HOME", &cache).assert().success();
    let (said, told) = (&assert.get_output().stdout, String::from_utf8_lossy(&assert.get_output().stderr));
    assert!(told.contains("measured after step 8: frechet distance ") && told.contains("(20 samples in "), "{told}");
    assert!(String::from_utf8_lossy(said).contains("--checkpoint best"), "{}", String::from_utf8_lossy(said));

    assert_eq!(result(&plain, 12).0, result(&run, 12).0);
    let state = |run: &Path| {
        let last = Checkpoint::open(&run.join("checkpoints/step-00000012.safetensors")).unwrap();
        let (_, params) = network(&last.header.config).unwrap();
        last.state(&params).unwrap()
    };
    assert!(state(&plain) == state(&run), "the measurements changed the training");
    let records = measurements(&run);
    assert_eq!(steps(&run), [4, 8, 12]);
    let distance = |record: &Value| record["distances"]["frechet_distance"].as_f64().unwrap();
    let best = records.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap();
    let kept = Checkpoint::open(&run.join("best-samples.safetensors")).unwrap();
    assert_eq!(best["step"], kept.header.step);
    assert!(records.iter().all(|record| record["n"] == 20 && record["distances"]["kernel_distance"].is_f64()));

    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("best samples") && page.contains("frechet distance"), "no measurements in the report");
    let events = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
    let events = events.filter(|path| path.to_string_lossy().contains("tfevents"));
    let has_curve = |path: &Path| fs::read(path).unwrap().windows(24).any(|bytes| bytes == b"samples/frechet_distance");
    assert!(events.into_iter().any(|path| has_curve(&path)), "no measurements for TensorBoard");
}

#[test]
fn a_checkpoint_is_chosen_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (run_in(&folder, "run"), run_in(&folder, "sheet.png").display().to_string());
    stdout(&points(&run, &[]));
    let best = Checkpoint::open(&run.join("best-samples.safetensors")).unwrap().header.step;
    let sample = |more: &[&str]| -> Vec<String> {
        let path = run.display().to_string();
        [&["sample", &path, "--device", "cpu", "--n", "4", "--out", &out], more]
            .concat()
            .iter()
            .map(|s| (*s).into())
            .collect()
    };
    let origin = |more: &[&str]| stdout(&sample(more));
    assert!(origin(&[]).contains("averaged weights of step 10 "));
    assert!(origin(&["--checkpoint", "last"]).contains("of step 10 "));
    assert!(origin(&["--checkpoint", "9"]).contains("of step 9 "));
    assert!(origin(&["--checkpoint", "best"]).contains(&format!("of step {best} ")));
    let refused = |more: &[&str]| {
        let assert = ddpm().args(sample(more)).assert().failure();
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let line = refused(&["--checkpoint", "3"]);
    assert!(line.contains("has no checkpoint \"3\"; there is best, and there are the steps 9, 10"), "{line}");
    assert!(refused(&["--checkpoint", "nest"]).contains("has no checkpoint \"nest\""));
}

#[test]
fn a_run_killed_at_any_moment_measures_every_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (run_in(&folder, "whole"), run_in(&folder, "killed"));
    let settings = ["train.steps=200", "train.evaluate_every=20", "train.checkpoint_every=30", "train.evaluate_n=2000"];
    stdout(&points(&whole, &settings));
    assert_eq!(steps(&whole), (1..=10).map(|i| 20 * i).collect::<Vec<u64>>());
    for attempt in 0..12 {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
        command.args(points(&killed, &settings)).arg("--resume").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 53 * attempt % 300));
        // In turn killed, and asked to stop, which ends a measurement early.
        match attempt % 2 {
            0 => child.kill().unwrap(),
            _ => assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success()),
        }
        child.wait().unwrap();
    }
    let mut args = points(&killed, &settings);
    args.push("--resume".into());
    stdout(&args);
    assert_eq!(measurements(&whole), measurements(&killed));
    assert!(result(&whole, 200) == result(&killed, 200), "the resumed run differs");
    let best = |run: &Path| fs::read(run.join("best-samples.safetensors")).unwrap();
    assert!(best(&whole) == best(&killed), "another best step");
}

#[test]
fn a_measurement_that_a_stop_cut_off_is_made_when_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    stdout(&points(&run, &[]));
    let whole = measurements(&run);
    assert_eq!(steps(&run), [3, 6, 9, 10]);
    // As if stopped while the last step was measured.
    let log = run.join("evaluations.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let cut: String = text.split_inclusive('\n').take(3).collect();
    fs::write(&log, cut).unwrap();
    let mut resume = points(&run, &[]);
    resume.push("--resume".into());
    assert!(!stdout(&resume).contains("already finished"));
    assert_eq!(measurements(&run), whole);
    assert!(stdout(&resume).contains("already finished"));
}

#[test]
fn images_without_labels_need_inception() {
    let folder = tempfile::tempdir().unwrap();
    let (run, images, cache) = (run_in(&folder, "run"), run_in(&folder, "images"), run_in(&folder, "cache"));
    fs::create_dir(&images).unwrap();
    for i in 0..6u8 {
        let file = fs::File::create(images.join(format!("{i}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 8, 8);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[40 * i; 64]).unwrap();
    }
    let source = format!("data.source={}", images.display());
    let args = [&["--set", &source][..], &MEASURED[2..]].concat();
    let assert = ddpm().args(tiny_args(&run)).args(args).env("XDG_CACHE_HOME", &cache).assert().code(2);
    let line = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(line.contains("train.evaluate_every: ") && line.contains("has no labels"), "{line}");
    assert!(line.contains("train.evaluate_inception"), "{line}");
    assert!(!run.exists());
}

/// The averages of a run, and the text that chooses each.
const AVERAGES: &str = r#"train.ema=["warmup=0.9", "power=0.75", "half-life=8"]"#;

#[test]
fn several_averages_are_kept_resumed_and_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, run, halves) = (run_in(&folder, "plain"), run_in(&folder, "run"), run_in(&folder, "halves"));
    train(&plain, &["--set", "train.ema_decay=0.9"]);
    let settings = ["--set", AVERAGES, "--set", "train.lr_steps=12"];
    let said = train(&run, &settings);
    let alone = train(&halves, &[&settings[..], &["--set", "train.steps=5"]].concat());
    train(&halves, &[&settings[..], &["--resume"]].concat());
    assert!(result(&run, 12) == result(&halves, 12), "the resumed run differs");
    let memory = |said: &str| said.lines().find(|line| line.starts_with("memory ")).unwrap().to_owned();
    assert_eq!(memory(&said), memory(&alone));

    // The first is that of the plain run, and so are the weights.
    let open = |run: &Path| Checkpoint::open(&run.join("checkpoints/step-00000012.safetensors")).unwrap();
    let (checkpoint, (_, params)) = (open(&run), network(&open(&run).header.config).unwrap());
    let (state, single) = (checkpoint.state(&params).unwrap(), open(&plain).state(&params).unwrap());
    assert_eq!((state.further.len(), single.further.len()), (2, 0));
    assert!(state.weights == single.weights && state.ema == single.ema && state.adam_v == single.adam_v);
    assert!(result(&plain, 12).0 == result(&run, 12).0);
    // 1 - 12^-0.75 and 2^(-4 / 8) of the averages before remain: none is another, and none the weights.
    let [power, half_life] = &state.further[..] else { unreachable!("two") };
    assert!(power != half_life && power != &state.ema && half_life != &state.weights);

    let path = run.display().to_string();
    let exported = |name: &str| {
        let out = run_in(&folder, name);
        let args = ["export", &path, &out.display().to_string(), "--ema", name];
        ddpm().args(args).assert().success();
        let file = TensorFile::open(&out.join("diffusion_pytorch_model.safetensors")).unwrap();
        params.from_files(|name, dims| file.read(name, dims)).unwrap()
    };
    assert!(exported("power=0.75") == *power && exported("half-life=8") == *half_life);
    assert!(exported("warmup=0.9") == state.ema);
    let line = refused(&["export", &path, &run_in(&folder, "none").display().to_string(), "--ema", "power=1"]);
    assert!(line.contains("holds warmup=0.9 and power=0.75 and half-life=8"), "{line}");
    let other = ["train", "--device", "cpu", "--resume", "--out", &path, "--set", r#"train.ema=["power=0.75"]"#];
    assert!(refused(&other).contains("train.ema"), "{}", refused(&other));
}

/// An average over all weights is their mean, and a half-life of one batch the mean of the last with what was before.
#[test]
fn the_averages_of_a_run_are_those_of_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let averages = r#"train.ema=["power=1", "half-life=4", "decay=0.75"]"#;
    train(&run, &["--set", averages, "--set", "train.checkpoint_every=1", "--set", "train.keep_checkpoints=0"]);
    let state = |step: u64| {
        let checkpoint = Checkpoint::open(&ddpm::train::checkpoint::path(&run.join("checkpoints"), step)).unwrap();
        let (_, params) = network(&checkpoint.header.config).unwrap();
        checkpoint.state(&params).unwrap()
    };
    let states: Vec<_> = (1..=12).map(state).collect();
    for i in 0..states[0].weights.len() {
        let weights: Vec<f64> = states.iter().map(|state| f64::from(state.weights[i])).collect();
        let close = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() <= 1e-6 * (1.0 + wanted.abs());
        assert!(close(states[11].ema[i], weights.iter().sum::<f64>() / 12.0), "the mean of weight {i}");
        for (average, decay) in [(0, 0.5), (1, 0.75)] {
            let start = f64::from(states[0].further[average][i]);
            let wanted = weights[1..].iter().fold(start, |average, w| decay * average + (1.0 - decay) * w);
            assert!(close(states[11].further[average][i], wanted), "average {average} of weight {i}");
        }
    }
}

fn refused(args: &[&str]) -> String {
    let assert = ddpm().args(args).assert().failure();
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// Sheets of a run.
fn sheets(run: &Path) -> usize {
    let all = fs::read_dir(run.join("samples")).unwrap().map(|entry| entry.unwrap().file_name());
    all.filter(|name| name.to_string_lossy().starts_with("step-")).count()
}

fn trained(folder: &TempDir, name: &str, settings: &[&str]) -> std::path::PathBuf {
    let run = run_in(folder, name);
    train(&run, &settings.iter().flat_map(|setting| ["--set", setting]).collect::<Vec<_>>());
    run
}

#[test]
fn sheets_are_drawn_by_the_clock_and_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let plain = trained(&folder, "plain", &["train.sample_every=0"]);
    // Less than a step.
    let often = trained(&folder, "often", &["train.sample_every=0", "train.sample_every_minutes=0.0000001"]);
    let hourly = trained(&folder, "hourly", &["train.sample_every=0", "train.sample_every_minutes=60"]);
    assert_eq!([&plain, &often, &hourly].map(|run| sheets(run)), [1, 12, 1]);
    assert!(result(&plain, 12).0 == result(&often, 12).0);
}

#[test]
fn passes_over_the_data_become_steps() {
    let folder = tempfile::tempdir().unwrap();
    let config = |run: &Path| fs::read_to_string(run.join("config.toml")).unwrap();
    // 100 images less a fifth, in batches of 4: 20 steps a pass.
    let run = run_in(&folder, "run");
    let args = |more: &[&str]| -> Vec<String> {
        let mut args = tiny_args(&run);
        // The number of steps of the other tests is not set here.
        let at = args.iter().position(|arg| arg == "train.steps=12").unwrap();
        args.drain(at - 1..=at);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    };
    let passes = ["--set", "train.epochs=1.5", "--set", "train.validation_fraction=0.2", "--set", "sample.n=0"];
    stdout(&args(&passes));
    assert_eq!(result(&run, 30).0.len(), 30);
    assert!(config(&run).contains("steps = 30\n") && config(&run).contains("epochs = 1.5\n"), "{}", config(&run));
    // A run that is resumed knows how long it is, and may become longer.
    let resume = |more: &[&str]| stdout(&args(&[&passes[2..], &["--resume"], more].concat()));
    assert!(resume(&["--set", "train.epochs=1.5"]).contains("already finished after 30 of 30 steps"));
    resume(&["--set", "train.epochs=2"]);
    assert_eq!(result(&run, 40).0.len(), 40);
    // As many steps, said as such, are the same run; its configuration repeats the passes with other batches.
    let steps = run_in(&folder, "steps");
    let (out, saved) = (steps.display().to_string(), run.join("config.toml").display().to_string());
    let again = ["train", "--device", "cpu", "--config", &saved, "--out", &out, "--set", "train.batch_size=8"];
    ddpm().args(again).assert().success();
    assert_eq!(result(&steps, 20).0.len(), 20);

    let both = refused(&["train", "--device", "cpu", "--set", "train.steps=7", "--set", "train.epochs=2"]);
    assert!(both.contains("train.steps and train.epochs both say when the training ends: set one of them"), "{both}");
    assert!(
        refused(&["train", "--device", "cpu", "--set", "train.steps=0"]).contains("set train.steps, or train.epochs")
    );
}
