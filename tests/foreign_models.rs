//! Models of other programs and of unusual shapes through the program: classes without a label for "no class", images that
//! are no squares, samples of any number of channels.

use assert_cmd::Command;
use ddpm::nn::{ImageSize, Init, ModelConfig, Network, ParamSet, UNetConfig};
use ddpm::train::{Config, ModelFile, Which};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

fn small() -> UNetConfig {
    UNetConfig { channels: vec![8, 16], groups: 4, layers_per_level: 1, ..UNetConfig::default() }
}

/// Writes a model folder of diffusers with weights that are small and not all zero.
fn export(model: UNetConfig, folder: &Path) {
    let config = Config { model: ModelConfig::from(model), ..Config::default() };
    let mut params = ParamSet::default();
    let network = Network::new(&config.model, &mut params).unwrap();
    let values = params.initial(|p, init, values| {
        for (i, value) in values.iter_mut().enumerate() {
            *value = if init == Init::Constant(1.0) { 1.0 } else { 0.1 * ((p * 131 + i) as f32).sin() };
        }
    });
    let model = ModelFile { config, network, params, values, origin: String::new(), notes: Vec::new() };
    model.export(folder, false).unwrap();
}

fn ddpm(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("ddpm").unwrap();
    command.args(arguments).args(["--device", "cpu"]);
    command
}

fn succeed(arguments: &[&str]) -> String {
    let assert = ddpm(arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let assert = ddpm(arguments).assert().failure();
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// Width, height and channels of a PNG file.
fn png_dims(path: &Path) -> [usize; 3] {
    let reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let info = reader.info();
    [info.width as usize, info.height as usize, info.color_type.samples()]
}

#[test]
fn all_classes_of_a_foreign_model_are_drawn_and_none_is_taken_for_no_class() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("classes");
    // Nine classes and the lack of one are a table of ten rows.
    export(UNetConfig { classes: 9, ..small() }, &folder);
    let path = folder.display().to_string();
    let own = ModelFile::open(&folder, &Which::Average).unwrap().config.model;
    assert_eq!((own.classes(), own.has_null_class()), (9, true));
    succeed(&["sample", &path, "--n", "1", "--steps", "2", "--class", "none", "--out", &format!("{path}/none.png")]);

    let config = folder.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut foreign: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(foreign.remove("_null_class").is_some());
    fs::write(&config, serde_json::to_string(&foreign).unwrap()).unwrap();
    let model = ModelFile::open(&folder, &Which::Average).unwrap().config.model;
    assert_eq!((model.classes(), model.has_null_class(), model.class_rows()), (10, false, 10));

    let out = folder.join("nine.png").display().to_string();
    let sample = ["sample", &path, "--n", "2", "--steps", "2", "--out", &out];
    succeed(&[&sample[..], &["--class", "9"]].concat());
    assert!(refusal(&[&sample[..], &["--class", "10"]].concat()).contains("10 classes"));
    assert!(refusal(&[&sample[..], &["--class", "none"]].concat()).contains("--class none"));
    assert!(refusal(&[&sample[..], &["--guidance", "1"]].concat()).contains("no label for \"no class\""));

    let again = root.path().join("again");
    succeed(&["export", &path, &again.display().to_string()]);
    assert_eq!(ModelFile::open(&again, &Which::Average).unwrap().config.model, model);
}

#[test]
fn samples_of_any_number_of_channels_are_drawn() {
    let root = tempfile::tempdir().unwrap();
    for channels in [2, 4, 5] {
        let folder = root.path().join(format!("channels{channels}"));
        let model =
            UNetConfig { image_size: ImageSize::from(16), in_channels: channels, out_channels: channels, ..small() };
        export(model, &folder);
        let (path, out, strip) = (folder.display().to_string(), folder.join("out.png"), folder.join("strip.png"));
        let files = [&out, &strip].map(|file| file.display().to_string());
        succeed(&["sample", &path, "--n", "3", "--steps", "2", "--out", &files[0], "--strip", &files[1]]);
        let [width, height, planes] = png_dims(&out);
        // Three images in two columns, each of `channels` grey planes side by side.
        let factor = width / (2 * (16 * channels + 1) + 1);
        assert_eq!([width, height, planes], [(2 * (16 * channels + 1) + 1) * factor, 35 * factor, 1]);
        assert_eq!(png_dims(&strip)[2], 1);
        let settings = ["in", "out"].map(|side| format!("model.{side}_channels={channels}"));
        let run = folder.join("run").display().to_string();
        let error = refusal(&["train", "--set", &settings[0], "--set", &settings[1], "--out", &run]);
        assert!(error.contains(&format!("images have 1 channel (grey) or 3 (RGB), not {channels}")), "{error}");
    }
}

#[test]
fn a_network_that_cannot_sample_is_refused_before_anything_is_computed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("five");
    export(UNetConfig { out_channels: 5, ..small() }, &folder);
    let path = folder.display().to_string();
    for command in ["sample", "inspect"] {
        let error = refusal(&[command, &path]);
        assert!(error.contains("model.out_channels = 5"), "{command}: {error}");
    }
}

#[test]
fn rectangles_are_trained_drawn_exported_and_profiled() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let path = run.display().to_string();
    let settings = [
        "model.image_size=[16, 24]",
        "model.channels=[8, 16]",
        "model.attention_levels=[1]",
        "model.groups=4",
        "data.flip=true",
        "data.limit=100",
        "train.batch_size=4",
        "train.steps=4",
        "train.sample_every=4",
        "sample.n=3",
        "sample.steps=2",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    succeed(&[&["train", "--out", &path], &settings[..]].concat());
    let sheet = |path: &Path| {
        let [width, height, _] = png_dims(path);
        (width * 35, height * 51)
    };
    let drawn = run.join("drawn.png");
    succeed(&["sample", &path, "--out", &drawn.display().to_string()]);
    // Two columns of 24 pixels and two rows of 16, with gaps.
    let (across, down) = sheet(&drawn);
    assert_eq!(across, down);

    let exported = root.path().join("exported");
    succeed(&["export", &path, &exported.display().to_string()]);
    let text = fs::read_to_string(exported.join("config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sample_size"], serde_json::json!([16, 24]));
    assert_eq!(ModelFile::open(&exported, &Which::Average).unwrap().config.model.sample_dims(), [16, 24, 1]);
    succeed(&["inspect", &path]);
    succeed(&[&["profile", "--rounds", "1"], &settings[..]].concat());
    succeed(&[&["profile", "--model", "h200"], &settings[..]].concat());
    assert!(refusal(&["train", "--set", "model.image_size=[16, 20, 1]"]).contains("[height, width]"));
    assert!(refusal(&["train", "--set", "model.image_size=[16, 21]"]).contains("model.image_size = [16, 21]"));
}

/// The time as scale and shift, by a setting: trained, drawn, exported as diffusers has it, and no bias of the time left.
#[test]
fn a_network_with_scale_and_shift_is_trained_drawn_and_exported() {
    let root = tempfile::tempdir().unwrap();
    let [run, folder] = ["run", "folder"].map(|name| root.path().join(name).display().to_string());
    let settings = [
        "model.time_scale_shift=true",
        "model.heads=2",
        "model.image_size=8",
        "model.channels=[8, 16]",
        "model.attention_levels=[1]",
        "model.groups=4",
        "model.dropout=0.1",
        "data.limit=100",
        "train.batch_size=4",
        "train.steps=4",
        "sample.n=2",
        "sample.steps=2",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    succeed(&[&["train", "--out", &run], &settings[..]].concat());
    succeed(&["sample", &run, "--out", &format!("{run}/drawn.png")]);
    succeed(&["export", &run, &folder]);
    let text = fs::read_to_string(Path::new(&folder).join("config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["resnet_time_scale_shift"], &json["attn_norm_num_groups"]), (&"scale_shift".into(), &4.into()));
    assert_eq!(json["attention_head_dim"], 8);
    let inspected = succeed(&["inspect", &folder]);
    // 2 x 16 columns of the time for each channel of the middle.
    let projections = inspected.lines().find(|line| line.contains("time_emb_proj")).unwrap_or_default();
    assert!(!projections.is_empty(), "{inspected}");
    assert!(
        refusal(&["train", "--set", "model.layout=paired", "--set", "model.time_scale_shift=true"])
            .contains("model.time_scale_shift")
    );
}

/// Every layout of a folder that is none, through the program: one line, which names it, and exit code 1.
#[test]
fn a_folder_without_a_model_says_what_would_do() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("epoch=10.ckpt"), "x").unwrap();
    for command in ["sample", "inspect"] {
        let error = refusal(&[command, &root.path().display().to_string()]);
        assert!(error.contains("give its path") && error.trim().lines().count() == 1, "{error}");
    }
}
