//! The command line: what it prints, and how it says no. A mistake gets one line and an exit code that is not 0.

mod program;

use program::{ddpm, stdout};
use std::fs;
use std::path::Path;

/// Expects a refusal with this exit code, and returns the line that says why.
fn refused(args: &[&str], code: i32) -> String {
    let assert = ddpm(args).assert().code(code);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(lines.len() == 1 && !text.contains("panicked"), "{args:?}: {text}");
    lines[0].to_owned()
}

#[test]
fn published_sizes() {
    let json = |preset: &str| -> serde_json::Value {
        serde_json::from_str(&stdout(&["inspect", "--preset", preset, "--json"])).unwrap()
    };
    let cifar = json("ddpm-cifar10");
    assert_eq!(cifar["parameters"], 35_746_307);
    let gflop = cifar["forward_gflop_per_image"].as_f64().unwrap();
    assert!((gflop - 12.4).abs() <= 0.1, "{gflop} GFLOP");
    assert!(cifar["arena_bytes"].as_u64().unwrap() > 0);
    assert_eq!(json("mnist-123")["parameters"], 57_489_857);
    assert_eq!(json("unet64")["parameters"], 20_494_211);
    let further = [
        ("mnist-123-conditional", 57_490_881),
        ("mnist-123-learned", 57_490_434),
        ("mnist-dm1", 442_890),
        ("mnist-dm2", 1_842_989),
        ("cifar-c1", 1_844_215),
        ("cifar-c2", 1_852_657),
        ("cifar-c3", 65_950_050),
        ("cifar-thesis", 58_326_675),
        ("points-2d", 83_330),
    ];
    for (preset, parameters) in further {
        assert_eq!(json(preset)["parameters"], parameters, "{preset}");
    }
    let small = json("mnist-small")["forward_gflop_per_image"].as_f64().unwrap();
    assert!(small <= 0.25, "{small} GFLOP");
    let table = stdout(&["inspect", "--preset", "quickstart"]);
    assert!(table.contains("mid_block.attentions.0.to_q, to_k, to_v") && table.contains("GFLOP per image"), "{table}");
}

#[test]
fn the_memory_plan_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.svg");
    stdout(&["inspect", "--preset", "points-2d", "--plan", file.to_str().unwrap()]);
    let svg = fs::read_to_string(file).unwrap();
    assert!(svg.contains(" in an arena of ") && svg.contains("class=\"boxes\""), "{svg}");
}

#[test]
fn presets_are_complete_configurations() {
    let list = stdout(&["presets"]);
    for preset in ["quickstart", "mnist-small", "ddpm-cifar10", "mnist-123", "unet64"] {
        assert!(list.contains(preset));
        let toml = stdout(&["presets", preset]);
        for section in ["[model]", "[diffusion]", "[data]", "[train]", "[sample]"] {
            assert!(toml.contains(section), "{preset}: {section} is missing");
        }
    }
}

#[test]
fn help_shows_examples() {
    for args in [
        &["--help"][..],
        &["train", "--help"],
        &["sample", "--help"],
        &["interpolate", "--help"],
        &["inpaint", "--help"],
        &["eval", "--help"],
    ] {
        assert!(stdout(args).contains("Examples:"), "{args:?}");
    }
    assert!(stdout(&["completions", "bash"]).contains("ddpm"));
}

#[test]
fn mistakes_in_the_call_are_usage_errors() {
    let set = |setting| refused(&["train", "--device", "cpu", "--set", setting], 2);
    refused(&["train", "--frobnicate"], 2);
    refused(&["trian"], 2);
    refused(&["train", "--resume"], 2);
    assert!(refused(&["train", "--preset", "quikstart"], 2).contains("did you mean \"quickstart\""));
    assert!(set("train.stesp=7").contains("did you mean \"train.steps\""));
    assert!(set("train.steps=seven").contains("wanted a whole number"));
    assert!(set("train.steps=0").contains("train.steps"));
    assert!(set("model.groups=5").contains("model.groups = 5"));
    assert!(set("model.image_size=15").contains("model.image_size = 15"));
    assert!(set("train.shards=5").contains("train.shards = 5"));
    assert!(set("train.precision=bf16").contains("f32 only"));
    assert!(set("data.source=no/such/folder").contains("no/such/folder"));
    assert!(set("data.classes=[12]").contains("12"));
    let three = set("data.classes=[1, 2, 3]");
    assert!(three.contains("model.classes = 10, but") && three.contains("--set model.classes=3"), "{three}");
    assert!(set("sample.steps=5000").contains("5000"));
    assert!(refused(&["train", "--device", "tpu"], 2).contains("tpu"));
}

/// Several processes that nothing connects would be as many runs. Only a build without MPI: another would ask it.
#[cfg(not(feature = "mpi"))]
#[test]
fn a_launcher_of_several_processes_is_told_that_this_build_cannot_connect_them() {
    for (variable, size) in [("OMPI_COMM_WORLD_SIZE", "4"), ("PMI_SIZE", "2"), ("SLURM_STEP_NUM_TASKS", "8")] {
        let assert = ddpm(&["train", "--device", "cpu"]).env(variable, size).assert().code(2);
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        let wanted =
            format!("error: {variable} = {size}: a launcher started so many processes, but this build knows no MPI");
        assert!(text.starts_with(&wanted) && text.contains("cargo build --release --features mpi"), "{text}");
    }
    // What every shell of a batch job has counts for nothing.
    let assert = ddpm(&["train", "--set", "train.steps=0"]).env("SLURM_NTASKS", "4").assert().code(2);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(text.contains("train.steps"), "{text}");
}

#[test]
fn an_unknown_key_in_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    let path = file.display().to_string();
    fs::write(&file, "[train]\nbatchsize = 3\n").unwrap();
    let line = refused(&["train", "--config", &path], 1);
    assert!(line.contains("my.toml") && line.contains("did you mean \"train.batch_size\""), "{line}");
    fs::write(&file, "[train\n").unwrap();
    assert!(refused(&["train", "--config", &path], 1).contains("my.toml"));
    fs::remove_file(&file).unwrap();
    assert!(refused(&["train", "--config", &path], 1).contains("my.toml"));
}

#[test]
fn places_that_cannot_hold_a_run_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let train = |out: &Path, more: &[&str]| {
        let out = out.display().to_string();
        refused(&[&["train", "--device", "cpu", "--out", &out], more].concat(), 1)
    };
    fs::write(folder.path().join("precious"), "data").unwrap();
    assert!(train(folder.path(), &[]).contains("not empty"));
    assert!(train(folder.path(), &["--resume"]).contains("not empty"));
    assert!(train(&folder.path().join("precious"), &[]).contains("not a folder"));
    assert!(train(&folder.path().join("precious/run"), &[]).contains("precious/run"));
    assert!(train(Path::new("/proc/run"), &[]).contains("/proc/run"));
    assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "data");
}

#[test]
fn models_that_cannot_be_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let path = file.display().to_string();
    let folder_path = folder.path().display().to_string();
    let sample = |model: &str| refused(&["sample", model, "--device", "cpu"], 1);
    assert!(sample(&path).contains("no such file"));
    assert!(sample(&folder_path).contains("no model; a run (config.toml)"));
    fs::write(&file, "").unwrap();
    assert!(sample(&path).contains("empty"));
    fs::write(&file, vec![7; 1000]).unwrap();
    assert!(sample(&path).contains("model.safetensors"));
    fs::write(folder.path().join("config.json"), r#"{"time_embedding_type": "fourier"}"#).unwrap();
    assert!(sample(&folder_path).contains("time_embedding_type = \"fourier\" is not supported"));
    fs::write(folder.path().join("config.json"), r#"{"block_out_channels": [32, 32, 32, 32]}"#).unwrap();
    assert!(sample(&folder_path).contains("diffusion_pytorch_model.safetensors"));
}

#[test]
fn points_are_shown_as_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("rings.svg");
    ddpm(&["data", "preview", "rings", "--n", "500", "--out", &plot.display().to_string()]).assert().success();
    assert!(fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    assert!(stdout(&["data", "info", "waves", "--split", "test"]).contains("points    10000"));
    assert!(refused(&["data", "preview", "rings", "--out", "rings.png"], 2).contains("are shown in a file .svg"));
    assert!(refused(&["data", "info", "rings", "--size", "32"], 2).contains("points of the plane"));
}

#[test]
fn experiments_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    assert!(stdout(&["experiment", "list"]).contains("thesis-table-4.1"));
    let text = stdout(&["experiment", "snr-weights", "--quick", "--out", &out, "--device", "cpu"]);
    assert!(text.contains("snr-weights/index.html"), "{text}");
    for file in ["index.html", "snr-weights/report.md", "snr-weights/verdicts.json", "snr-weights/snr-weights.svg"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    assert!(refused(&["experiment", "snr-wieghts"], 2).contains("did you mean \"snr-weights\"?"));
}

#[test]
fn data_sets_are_listed_described_and_shown() {
    assert!(stdout(&["data", "list"]).contains("glyphs"));
    let info = stdout(&["data", "info", "glyphs", "--size", "12"]);
    assert!(info.contains("12x12") && info.contains("50000"), "{info}");
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("preview.png");
    ddpm(&["data", "preview", "glyphs", "--n", "9", "--out", &sheet.display().to_string()]).assert().success();
    assert!(fs::read(sheet).unwrap().starts_with(b"\x89PNG"));
    refused(&["data", "info", "no/such/folder"], 2);
}

#[test]
fn two_halves_of_real_data_are_almost_the_same() {
    let table = stdout(&["eval", "--topline", "--data", "rings", "--device", "cpu"]);
    assert!(table.contains("half of rings") && table.contains("energy distance"), "{table}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("eval.json");
    let data = ["--data", "glyphs", "--size", "8", "--classes", "1,7", "--metrics", "moments", "--n", "500"];
    let out = ["eval", "--topline", "--device", "cpu", "--out", &file.display().to_string()].map(String::from);
    let args: Vec<&str> = out.iter().map(String::as_str).chain(data).collect();
    assert!(stdout(&args).contains("covariance distance"));
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(json["n"], 500);
    assert!(json["mean_distance"].as_f64().unwrap() <= 1.0 && json.get("frechet_distance").is_none(), "{json}");
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    let eval = |args: &[&str], code: i32| refused(&[&["eval", "--device", "cpu"], args].concat(), code);
    let rings = |more: &[&str]| eval(&[&["--topline", "--data", "rings"], more].concat(), 2);
    assert!(eval(&[], 2).contains("required"));
    assert!(eval(&["no/such/run"], 1).contains("no such file"));
    assert!(eval(&[&empty, "--data", "glyphs"], 1).contains(&empty));
    assert!(eval(&["--topline"], 2).contains("--data"));
    assert!(eval(&["--topline", "--data", "no/such/data"], 2).contains("no/such/data"));
    assert!(rings(&["--metrics", "fid"]).contains("frechet, kid, moments, energy, classes"));
    assert!(rings(&["--metrics", "frechet"]).contains("points, not images"));
    assert!(rings(&["--binarise"]).contains("for images"));
    assert!(rings(&["--n", "1"]).contains("at least 2 samples"));
    let glyphs = |more: &[&str]| eval(&[&["--topline", "--data", "glyphs", "--size", "8"], more].concat(), 2);
    assert!(glyphs(&["--metrics", "energy"]).contains("compares points"));
    assert!(glyphs(&["--classes", "4", "--metrics", "frechet"]).contains("one class only"));
    fs::write(folder.path().join("stats.npz"), "text").unwrap();
    let stats = format!("{empty}/stats.npz");
    assert!(glyphs(&["--reference", &stats, "--metrics", "kid"]).contains("frechet only"));
}

#[test]
fn devices_are_listed_with_why_one_is_missing() {
    let json: serde_json::Value = serde_json::from_str(&stdout(&["devices", "--json"])).unwrap();
    let devices = json["devices"].as_array().unwrap();
    let names: Vec<&str> = devices.iter().map(|device| device["device"].as_str().unwrap()).collect();
    assert!(names[0] == "cpu" && names[1] == "cuda:0" && names.last() == Some(&"emu"), "{names:?}");
    for device in devices {
        assert!(device["name"].is_string() != device["missing"].is_string(), "{device}");
    }
    assert_eq!(stdout(&["devices"]).lines().count(), devices.len());
}

#[test]
fn a_missing_gpu_is_said_in_one_line() {
    assert!(refused(&["train", "--device", "cuda:1000"], 1).contains("cuda:1000"));
}
