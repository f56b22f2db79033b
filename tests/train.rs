//! Whole runs through the program: the same seed gives the same run, whatever happens on the way.

use ddpm::engine::device::Device;
use ddpm::engine::ops::check::targets;
use ddpm::nn::{ImageSize, ModelConfig, UNetConfig};
use ddpm::train::checkpoint::State;
use ddpm::train::{Config, Trainer};
use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;
use tiny::{ddpm, result, run_in, tiny_args, train};

mod tiny;

#[test]
fn a_run_leaves_what_there_is_to_know_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let said = train(&run, &[]);
    for file in
        ["config.toml", "metrics.jsonl", "report.html", "samples/step-00000005.png", "samples/step-00000012.png"]
    {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    assert!(said.contains("memory ") && said.contains("report.html") && said.contains("step-00000012.png"), "{said}");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .inspect(|record| assert!(record["loss"].as_f64().unwrap().is_finite()))
        .map(|record| record["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>());
    let mut kept: Vec<_> = fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["step-00000009.safetensors", "step-00000012.safetensors"]);

    let again = ddpm().args(tiny_args(&run)).arg("--resume").assert().success();
    assert!(String::from_utf8_lossy(&again.get_output().stdout).contains("already finished"));
}

#[test]
fn a_run_is_repeated_from_its_configuration_at_any_thread_count() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (run_in(&folder, "first"), run_in(&folder, "second"));
    train(&first, &["--set", "train.seed=7"]);
    let config = first.join("config.toml").display().to_string();
    let out = second.display().to_string();
    ddpm()
        .args(["train", "--device", "cpu", "--config", &config, "--out", &out])
        .env("RAYON_NUM_THREADS", "1")
        .assert()
        .success();
    assert!(result(&first, 12) == result(&second, 12), "the runs differ");
    assert_eq!(fs::read(first.join("config.toml")).unwrap(), fs::read(second.join("config.toml")).unwrap());
    let sheet = "samples/step-00000012.png";
    assert!(fs::read(first.join(sheet)).unwrap() == fs::read(second.join(sheet)).unwrap(), "the samples differ");
}

#[test]
fn a_killed_run_resumes_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (run_in(&folder, "whole"), run_in(&folder, "killed"));
    let many = ["--set", "train.steps=300", "--set", "train.sample_every=100"];
    train(&whole, &many);
    let program = assert_cmd::cargo::cargo_bin("ddpm");
    for attempt in 0..20 {
        let mut child = Process::new(&program)
            .args(tiny_args(&killed))
            .args(many)
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread over the start, the steps, and the writing of checkpoints.
        std::thread::sleep(Duration::from_millis(20 + 37 * attempt % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        for entry in fs::read_dir(killed.join("checkpoints")).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                ddpm::train::checkpoint::Checkpoint::open(&path).unwrap();
            }
        }
    }
    train(&killed, &[&many[..], &["--resume"]].concat());
    assert!(result(&whole, 300) == result(&killed, 300), "the resumed run differs");
}

#[test]
fn parts_of_a_batch_see_what_the_whole_batch_sees() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, accumulate: &str| -> Vec<f64> {
        let run = run_in(&folder, name);
        train(&run, &["--set", accumulate, "--set", "sample.n=0"]);
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap();
        metrics.lines().map(loss).collect()
    };
    let whole = losses("whole", "train.shards=1");
    for (name, accumulate) in [("two", "train.shards=2"), ("four", "train.shards=4")] {
        for (a, b) in whole.iter().zip(losses(name, accumulate)) {
            assert!((a - b).abs() <= 1e-4 * a, "{a} and {b} in {name} parts");
        }
    }
}

#[test]
fn a_run_may_begin_with_the_weights_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, exported) = (run_in(&folder, "first"), run_in(&folder, "second"), run_in(&folder, "model"));
    train(&first, &["--set", "sample.n=0"]);
    let model = first.display().to_string();
    ddpm().args(["export", &model, &exported.display().to_string()]).assert().success();
    let from_export = exported.display().to_string();
    train(&second, &["--init", &from_export, "--set", "train.learning_rate=0", "--set", "sample.n=0"]);
    let forward = |model: &Path| {
        let (input, out) = (run_in(&folder, "in.safetensors"), run_in(&folder, "out.safetensors"));
        let x = vec![("x".to_owned(), vec![1, 1, 8, 8], vec![0.5; 64]), ("t".to_owned(), vec![1], vec![3.0])];
        ddpm::nn::tensor_file::write(&mut fs::File::create(&input).unwrap(), &x, ("format", "pt")).unwrap();
        let paths = [model, &input, &out].map(|path| path.display().to_string());
        ddpm()
            .args(["forward", &paths[0], "--input", &paths[1], "--out", &paths[2], "--device", "cpu"])
            .assert()
            .success();
        fs::read(out).unwrap()
    };
    assert!(forward(&first) == forward(&exported), "the exported model computes something else");
    assert!(forward(&first) == forward(&second), "the run began with other weights");

    let third = run_in(&folder, "third");
    let args = ["--init", &from_export, "--set", "model.channels=[8, 24]"];
    let assert = ddpm().args(tiny_args(&third)).args(args).assert().code(2);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("wanted [24, 8, 3, 3], found [16, 8, 3, 3]"), "{error}");
    assert!(!third.exists());
}

#[test]
fn a_sample_depends_on_the_seed_and_its_number_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    train(&run, &["--set", "sample.n=0"]);
    let sample = |n: &str, seed: &str| -> Vec<u8> {
        let out = run_in(&folder, &format!("{n}-{seed}.png"));
        let (model, path) = (run.display().to_string(), out.display().to_string());
        let args = ["sample", &model, "--device", "cpu", "--n", n, "--seed", seed, "--steps", "3", "--out", &path];
        ddpm().args(args).assert().success();
        let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(out).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    };
    let (one, other) = (sample("1", "5"), sample("1", "6"));
    assert!(one != other, "another seed gives another sample");
    assert!(one == sample("1", "5"), "the same seed gives the same sample");
    // 17 samples are two chunks; their sheet is 5 x 4 images, the first of which is the single sample.
    let (many, side, gap) = (sample("17", "5"), 8, 1);
    let (sheet, factor) = (5 * (side + gap) + gap, 512usize.div_ceil(5 * (side + gap) + gap));
    let single_factor = 512usize.div_ceil(side + 2 * gap);
    for y in 0..side {
        for x in 0..side {
            let in_sheet = many[(gap + y) * factor * sheet * factor + (gap + x) * factor];
            let alone = one[(gap + y) * single_factor * (side + 2 * gap) * single_factor + (gap + x) * single_factor];
            assert_eq!(in_sheet, alone, "pixel {x}, {y}");
        }
    }
}

#[test]
fn a_step_that_is_not_finite_ends_the_run_and_leaves_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let wild = ["train.learning_rate=1e30", "train.clip_norm=0", "train.warmup_steps=0", "train.checkpoint_every=1"];
    let settings = wild.iter().flat_map(|setting| ["--set", setting]);
    let assert = ddpm().args(tiny_args(&run)).args(settings).assert().code(1);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("error: step 2: the loss is not finite; first produced by "), "{error}");
    let last = run.join("checkpoints/step-00000001.safetensors");
    assert_eq!(ddpm::train::checkpoint::Checkpoint::open(&last).unwrap().header.step, 1);
    assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count(), 1);
}

/// A trainer of a tiny model on a device.
fn tiny_trainer(device: Device) -> Trainer {
    let model = UNetConfig {
        image_size: ImageSize::from(8),
        channels: vec![8],
        layers_per_level: 1,
        groups: 4,
        attention_levels: vec![],
        ..UNetConfig::default()
    };
    let mut config = Config { model: ModelConfig::Unet(model), ..Config::default() };
    config.train.batch_size = 2;
    config.sample.n = 0;
    Trainer::new(device, &config).unwrap()
}

#[test]
fn steps_that_are_enqueued_ahead_are_the_same_and_stop_at_a_broken_one() {
    for target in targets() {
        let mut trainer = tiny_trainer(target.open());
        let len = 2 * trainer.config().model.sample_len();
        let batch = |step: usize| -> Vec<f32> { (0..len).map(|i| ((i * (step + 3)) as f32).sin()).collect() };
        let results = [0, 1, 2].map(|step| trainer.step(&batch(step), &[0, 0]).unwrap());
        let state = trainer.state().unwrap();

        let mut ahead = tiny_trainer(target.open());
        ahead.start(&batch(0), &[0, 0]).unwrap();
        ahead.start(&batch(1), &[0, 0]).unwrap();
        let first = ahead.finish().unwrap();
        ahead.start(&batch(2), &[0, 0]).unwrap();
        assert_eq!([first, ahead.finish().unwrap(), ahead.finish().unwrap()], results, "{}", target.name);
        let same =
            |a: &State, b: &State| (a.step, &a.weights, &a.adam_m, &a.ema) == (b.step, &b.weights, &b.adam_m, &b.ema);
        assert!(same(&ahead.state().unwrap(), &state), "{}", target.name);

        ahead.start(&vec![f32::NAN; len], &[0, 0]).unwrap();
        ahead.start(&batch(4), &[0, 0]).unwrap();
        let error = ahead.finish().unwrap_err().to_string();
        assert!(error.starts_with("step 4: the loss is not finite; first produced by noise_fwd"), "{error}");
        assert!(same(&ahead.state().unwrap(), &state), "{}: weights changed", target.name);
    }
}

#[test]
fn a_run_goes_on_only_as_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    train(&run, &["--set", "sample.n=0"]);
    let out = run.display().to_string();
    let resume = |setting: &str, code: i32| {
        let assert = ddpm().args(["train", "--device", "cpu", "--resume", "--out", &out, "--set", setting]).assert();
        String::from_utf8_lossy(&assert.code(code).get_output().stderr).into_owned()
    };
    assert!(resume("train.batch_size=8", 2).contains("train.batch_size = 8: the run began with 4"));
    resume("train.steps=13", 0);
    assert!(run.join("checkpoints/step-00000013.safetensors").exists());
}
