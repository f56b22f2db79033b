//! A model that goes through a diffusers folder keeps its noise schedule, target and sampler.

mod program;

use program::{ddpm, stdout};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const TINY: [&str; 13] = [
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
    "train.learning_rate=0.01",
    "sample.n=0",
    "sample.guidance=0",
];

/// A folder with a trained run in it, and the paths of both.
fn trained(settings: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").display().to_string();
    let settings = TINY.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    let args: Vec<&str> = ["train", "--device", "cpu", "--out", &run].into_iter().chain(settings).collect();
    ddpm(&args).assert().success();
    (folder, run)
}

/// The sheet that a model draws with these options.
fn drawn(model: &str, options: &[&str], folder: &Path) -> Vec<u8> {
    let sheet = folder.join("sheet.png").display().to_string();
    let args = ["sample", model, "--device", "cpu", "--n", "4", "--seed", "1", "--out", &sheet];
    ddpm(&[&args, options].concat()).assert().success();
    fs::read(sheet).unwrap()
}

#[test]
fn a_run_and_its_exports_draw_the_same() {
    let settings = ["diffusion.target=v", "diffusion.schedule=cosine", "diffusion.timesteps=20", "sample.steps=7"];
    let (folder, run) = trained(&settings);
    for (name, options) in [("model", &[][..]), ("pipeline", &["--pipeline"])] {
        let export = folder.path().join(name).display().to_string();
        ddpm(&[&["export", &run, &export], options].concat()).assert().success();
        for sampler in [&[][..], &["--sampler", "ddim", "--steps", "6"], &["--sampler", "dpm-solver"]] {
            let [from_run, from_export] = [&run, &export].map(|model| drawn(model, sampler, folder.path()));
            assert!(from_run == from_export, "{name} {sampler:?}");
        }
    }
    let read = |file: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join("pipeline").join(file)).unwrap()).unwrap()
    };
    let (index, scheduler) = (read("model_index.json"), read("scheduler/scheduler_config.json"));
    assert_eq!(index["scheduler"], serde_json::json!(["diffusers", "DDIMScheduler"]));
    assert_eq!(
        (&scheduler["prediction_type"], &scheduler["num_train_timesteps"]),
        (&"v_prediction".into(), &20.into())
    );
}

#[test]
fn what_a_folder_does_not_say_is_assumed_aloud_and_can_be_said() {
    let (folder, run) = trained(&["diffusion.target=v", "diffusion.schedule=cosine", "sample.steps=5"]);
    let export = folder.path().join("model").display().to_string();
    ddpm(&["export", &run, &export]).assert().success();
    fs::remove_file(Path::new(&export).join("scheduler_config.json")).unwrap();
    let sheet = folder.path().join("sheet.png").display().to_string();
    let sample = ["sample", &export, "--device", "cpu", "--n", "4", "--seed", "1", "--steps", "5", "--out", &sheet];
    let assert = ddpm(&sample).assert().success();
    let notes = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(notes.contains("note: no scheduler_config.json"), "{notes}");
    let said = ["--target", "v", "--schedule", "cosine", "--sampler", "ddim", "--set", "sample.eta=1", "--steps", "5"];
    assert!(drawn(&export, &said, folder.path()) == drawn(&run, &[], folder.path()));
    let refused = ddpm(&[&sample[..], &["--set", "model.classes=3"]].concat()).assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("only settings of sample and diffusion"));
}

#[test]
fn langevin_dynamics_works_by_default_on_the_schedule_of_mnist_123() {
    let (folder, run) = trained(&["diffusion.beta_start=0.001", "sample.n=2"]);
    let few = ["--sampler", "langevin", "--set", "sample.langevin_steps=2"];
    assert!(!drawn(&run, &few, folder.path()).is_empty());
    let shown = stdout(&["presets", "mnist-123"]);
    assert!(shown.contains("beta_start = 0.001"), "{shown}");
}
