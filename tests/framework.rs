//! Targets, losses, guidance, learned variance and early stopping through the program, on runs of seconds.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use std::fs;
use std::path::Path;

fn ddpm(args: &[&str]) -> Assert {
    Command::cargo_bin("ddpm").unwrap().args(["--device", "cpu"]).args(args).assert()
}

/// Trains a tiny network on drawn digits with further settings.
fn train(out: &Path, settings: &[&str]) -> Assert {
    let tiny = [
        "model.image_size=8",
        "model.channels=[8, 16]",
        "model.attention_levels=[1]",
        "model.classes=0",
        "model.groups=4",
        "diffusion.schedule=linear",
        "diffusion.target=epsilon",
        "data.limit=100",
        "train.batch_size=4",
        "train.steps=8",
        "sample.n=3",
        "sample.steps=3",
        "sample.guidance=0",
    ];
    let mut args = vec!["train", "--out", out.to_str().unwrap()];
    args.extend(tiny.iter().chain(settings).flat_map(|setting| ["--set", *setting]));
    ddpm(&args)
}

fn stdout(assert: Assert) -> String {
    String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
}

/// The loss of every step.
fn losses(run: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    metrics.lines().map(|line| record(line)["loss"].as_f64().unwrap()).collect()
}

fn refusal(assert: Assert) -> String {
    let message = String::from_utf8(assert.code(2).get_output().stderr.clone()).unwrap();
    assert_eq!(message.lines().filter(|line| line.starts_with("error")).count(), 1, "{message}");
    message
}

#[test]
fn every_target_trains_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["x0", "epsilon", "v", "score", "score-scaled", "mu"] {
        let run = folder.path().join(target);
        train(&run, &[&format!("diffusion.target={target}")]).success();
        assert!(run.join("samples/step-00000008.png").is_file(), "{target}");
        for sampler in ["ddim", "dpm-solver"] {
            let sheet = folder.path().join(format!("{target}-{sampler}.png"));
            let args = ["sample", run.to_str().unwrap(), "--sampler", sampler, "--out", sheet.to_str().unwrap()];
            ddpm(&args).success();
        }
    }
    // The scaled score is the noise by another name: the same losses, and so the same gradients.
    let [noise, score] = ["epsilon", "score-scaled"].map(|target| losses(&folder.path().join(target)));
    assert!(noise.len() == 8 && noise == score, "{noise:?}, {score:?}");
}

#[test]
fn losses_of_continuous_time_train_and_those_of_a_table_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let continuous = ["diffusion.schedule=vp-cosine", "diffusion.t_min=0.05", "diffusion.t_max=0.95"];
    for loss in ["nelbo", "rescaled", "unweighted", "min-snr"] {
        let loss_setting = format!("diffusion.loss={loss}");
        let settings = [&continuous[..], &[&loss_setting, "diffusion.target=v"]].concat();
        train(&folder.path().join(loss), &settings).success();
    }
    let message = refusal(train(&folder.path().join("vlb"), &[&continuous[..], &["diffusion.loss=vlb"]].concat()));
    assert!(message.contains("choose nelbo"), "{message}");
}

#[test]
fn a_conditional_model_is_guided() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, &["model.classes=10"]).success();
    let run = run.to_str().unwrap();
    let sheet = |name: &str, args: &[&str]| {
        let path = folder.path().join(name);
        ddpm(&[&["sample", run, "--out", path.to_str().unwrap()], args].concat()).success();
        fs::read(path).unwrap()
    };
    let plain = sheet("plain.png", &["--class", "3"]);
    assert!(plain != sheet("guided.png", &["--class", "3", "--guidance", "2"]));
    // w = -1 is the unconditional model.
    let unconditional = sheet("none.png", &["--class", "none"]);
    assert!(unconditional == sheet("minus-one.png", &["--class", "3", "--guidance", "-1"]));
    let message = refusal(ddpm(&["sample", run, "--class", "10"]));
    assert!(message.contains("knows 10 classes"), "{message}");
}

#[test]
fn guidance_of_an_unconditional_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).success();
    let message = refusal(ddpm(&["sample", run.to_str().unwrap(), "--guidance", "1"]));
    assert!(message.contains("guidance needs a network that is trained with labels"), "{message}");
    let message = refusal(ddpm(&["sample", run.to_str().unwrap(), "--sampler", "ddpm", "--variance", "learned"]));
    assert!(message.contains("no channels for a variance"), "{message}");
}

#[test]
fn a_variance_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings =
        ["model.out_channels=2", "diffusion.reduction=sum", "sample.sampler=ddpm", "sample.variance=learned"];
    train(&run, &[&settings[..], &["diffusion.vb_weight=1000"]].concat()).success();
    let simple = folder.path().join("simple");
    train(&simple, &[&settings[..], &["diffusion.vb_weight=0"]].concat()).success();
    // The same network, times and noise: the bound adds to the first loss, which is of order 1 for each of 64 values.
    let [both, simple] = [&run, &simple].map(|run| losses(run)[0]);
    assert!(simple > 6.4 && both > 1.001 * simple, "{both} of {simple}");
    let message = refusal(train(&folder.path().join("no"), &["model.out_channels=2", "diffusion.schedule=vp-cosine"]));
    assert!(message.contains("discrete noise schedule"), "{message}");
}

/// A network that predicts no noise at all sees `z / a` for the image, which is off by `sigma / a` of a normal. So each step of
/// its bound is known but for a mean of squared normals. All steps and a few of them give it.
#[test]
fn a_likelihood_from_all_steps_or_some_is_that_of_the_formula() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let schedule = ["diffusion.timesteps=24", "diffusion.beta_start=0.01", "diffusion.beta_end=0.3"];
    // The network's last layer begins at zero, and stays there.
    let still = ["train.steps=1", "train.learning_rate=1e-12", "sample.clip_x0=false"];
    let sampler = ["sample.sampler=ddpm", "sample.variance=fixed-small"];
    train(&run, &[&schedule[..], &still, &sampler].concat()).success();

    let (mut alpha_bar, mut wanted) = (1.0f64, 0.0);
    for t in 0..24 {
        let beta = 0.01 + (0.3 - 0.01) * f64::from(t) / 23.0;
        let before = alpha_bar;
        alpha_bar *= 1.0 - beta;
        if t > 0 {
            let posterior_variance = beta * (1.0 - before) / (1.0 - alpha_bar);
            let share = before.sqrt() * beta / (1.0 - alpha_bar);
            let error = (1.0 - alpha_bar) / alpha_bar;
            wanted += 0.5 * share * share * error / posterior_variance / std::f64::consts::LN_2;
        }
    }
    for steps in ["24", "23", "5"] {
        let args = ["eval", run.to_str().unwrap(), "--metrics", "nll", "--json", "--nll-images", "60", "--nll-steps"];
        let said = stdout(ddpm(&[&args[..], &[steps]].concat()));
        let nll = serde_json::from_str::<serde_json::Value>(&said).unwrap()["nll"].clone();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let (bits, spread) = (number(&nll["bits"]["loss"]), number(&nll["bits"]["standard_error"]));
        let of_steps = bits - number(&nll["decoder"]) - number(&nll["prior"]);
        assert!((of_steps - wanted).abs() <= 4.0 * spread, "{steps} steps: {of_steps} +- {spread}, not {wanted}");
        assert!(spread <= 0.05 * wanted, "{of_steps} +- {spread} would say nothing");
    }
}

#[test]
fn points_are_learned_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let out = run.to_str().unwrap();
    let settings = ["train.steps=20", "sample.n=50", "sample.steps=5", "data.source=rings"];
    let mut args = vec!["train", "--preset", "points-2d", "--out", out];
    args.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    ddpm(&args).success();
    assert!(run.join("samples/step-00000020.svg").is_file());
}

#[test]
fn a_run_stops_when_nothing_is_gained_and_goes_back_to_its_best() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Nothing is ever lower by 100 than the first validation.
    let patience = ["train.steps=50", "train.validation_fraction=0.2", "train.validate_every=2", "train.patience=2"];
    let more = ["train.min_delta=100", "train.checkpoint_every=1", "train.keep_checkpoints=0"];
    train(&run, &[&patience[..], &more].concat()).success();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let validated: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["validation_loss"].is_number())
        .map(|record| record["step"].as_u64().unwrap())
        .collect();
    assert_eq!(validated, [2, 4, 6]);
    let best = fs::read(run.join("best.safetensors")).unwrap();
    assert!(best == fs::read(run.join("checkpoints/step-00000002.safetensors")).unwrap());
    assert!(run.join("samples/step-00000006.png").is_file(), "the sheet of the end");
    let sheet = folder.path().join("sheet.png");
    let said = stdout(ddpm(&["sample", run.to_str().unwrap(), "--out", sheet.to_str().unwrap()]));
    assert!(said.contains("of step 2"), "{said}");
    // It has come to its end: resuming it changes nothing.
    stdout(ddpm(&["train", "--resume", "--out", run.to_str().unwrap()]));
    assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap(), metrics);
}
