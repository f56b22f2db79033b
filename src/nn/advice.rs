//! Explanations of folders and files that hold no model: what lies there, and what would do.

use super::folder::names;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// File that lists the parts of a pipeline.
pub(super) const PIPELINE: &str = "model_index.json";
const ONNX: &str = "an ONNX graph, which ddpm does not read; the UNet2DModel folder that it was exported from would do";
const FLAX: &str = "weights of Flax; from_pretrained(.., from_flax=True) and save_pretrained of diffusers make a folder that \
                    would do";
const OF_TENSORFLOW: &str = "a model of TensorFlow or Keras; its weights would do as safetensors under the names of a \
                             UNet2DModel of diffusers, with its config.json";
const GGUF: &str = "quantised weights (GGUF), which ddpm does not read; the model that they were made of would do";
const ARRAYS: &str = "arrays of NumPy: data or statistics, for ddpm eval; weights would do as safetensors";
const IMAGE: &str = "an image; as data it would do: ddpm train --data";
const ARCHIVE: &str = "an archive; unpack it and give the folder";

/// Endings of files of other programs, and what they are.
const FORMATS: &[(&[&str], &str)] = &[
    (&[".onnx"], ONNX),
    (&[".msgpack"], FLAX),
    (&[".h5", ".keras", ".pb", ".tflite", ".ckpt.index", ".ckpt.meta"], OF_TENSORFLOW),
    (&[".gguf"], GGUF),
    (&[".npz", ".npy"], ARRAYS),
    (&[".png", ".jpg"], IMAGE),
    (&[".zip", ".tar", ".tar.gz", ".tgz", ".7z"], ARCHIVE),
];

/// First bytes of files that stand where weights were wanted, whatever their names.
const BEGINNINGS: &[(&str, &str)] = &[
    ("version https://git-lfs", "a pointer of Git LFS in place of the file; git lfs pull fetches that"),
    ("<", "a page of a website in place of the file; download the file itself"),
    ("GGUF", GGUF),
];

/// Endings of files of weights.
const WEIGHTS: [&str; 5] = [".safetensors", ".pt", ".pth", ".ckpt", ".bin"];
/// Files that training with accelerate leaves beside the network.
const TRAINING: [&str; 6] =
    ["optimizer.bin", "optimizer.pt", "scheduler.bin", "scaler.pt", "sampler.bin", "random_states_0.pkl"];

/// Says what a file is that is no file of weights, by its name.
pub fn of_file(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    FORMATS.iter().find(|(endings, _)| endings.iter().any(|ending| name.ends_with(ending))).map(|(_, what)| *what)
}

/// Says what a file is that is no file of weights, by its first bytes.
pub fn of_bytes(first: &[u8]) -> Option<&'static str> {
    BEGINNINGS.iter().find(|(beginning, _)| first.starts_with(beginning.as_bytes())).map(|(_, what)| *what)
}

/// Says what a folder holds instead of a model, if that is known.
pub fn of_folder(folder: &Path) -> Option<String> {
    let names = names(folder).ok()?;
    let has = |name: &str| names.iter().any(|other| other == name);
    if has(PIPELINE) {
        return of_pipeline(folder);
    }
    if names.iter().any(|name| name.starts_with("pytorch_lora_weights")) {
        return Some(
            "holds a LoRA, changes to the weights of another model; fuse_lora and save_pretrained of its pipeline \
                     make one that may do"
                .into(),
        );
    }
    if let Some(checkpoint) = last_checkpoint(&names) {
        return Some(format!(
            "holds checkpoints of a training with accelerate; give one of them: {}",
            folder.join(checkpoint).display()
        ));
    }
    let is_run = |name: &&String| folder.join(name).join("config.toml").exists();
    if let Some(run) = names.iter().rfind(is_run) {
        let count = names.iter().filter(is_run).count();
        return Some(format!("holds runs ({count}) and is none; give one of them: {}", folder.join(run).display()));
    }
    of_files(folder, &names)
}

/// A folder without folders of models in it.
fn of_files(folder: &Path, names: &[String]) -> Option<String> {
    let is_training = |name: &&String| TRAINING.contains(&name.as_str());
    let weights = |name: &&String| WEIGHTS.iter().any(|ending| name.ends_with(ending)) && !is_training(name);
    let found: Vec<&String> = names.iter().filter(weights).collect();
    match (&found[..], names.iter().find(is_training)) {
        ([], Some(state)) => Some(format!(
            "holds the state of a training ({state}) without its network; the folder unet or unet_ema of the same \
             checkpoint would do, or weights with their config.json"
        )),
        ([name], Some(_)) => Some(format!(
            "holds a checkpoint of accelerate, whose network ({name}) has no config.json; put that of the UNet2DModel \
             beside it"
        )),
        ([name], None) => {
            Some(format!("holds no model, but a file of weights; give its path: {}", folder.join(name).display()))
        }
        ([first, ..], _) => Some(format!(
            "holds no model, but {} files of weights; give the path of one: {}",
            found.len(),
            folder.join(first).display()
        )),
        ([], None) => {
            let (name, what) = names.iter().find_map(|name| Some((name, of_file(Path::new(name))?)))?;
            Some(format!("holds no model, but {name}: {what}"))
        }
    }
}

/// A pipeline without a U-Net that its index or a folder would tell.
fn of_pipeline(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(PIPELINE)).ok()?;
    let index: Value = serde_json::from_str(&text).ok()?;
    let class = index["_class_name"].as_str().unwrap_or("pipeline");
    let is_part = |part: &&&str| index.get(**part).is_some_and(|value| !value.is_null()) || folder.join(part).is_dir();
    let part = ["transformer", "prior", "image_encoder", "vqvae", "unet"].iter().find(is_part)?;
    Some(match *part {
        "unet" => format!("a {class} whose folder unet is missing or has no config.json; download it whole"),
        part => format!(
            "a {class}, whose network ({part}) is none that ddpm reads; a DDPMPipeline with a UNet2DModel would do"
        ),
    })
}

/// The `checkpoint-N` with the largest N.
fn last_checkpoint(names: &[String]) -> Option<&String> {
    let step = |name: &String| name.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    names.iter().filter(|name| step(name).is_some()).max_by_key(|name| step(name))
}

/// Says what a model is that is no `UNet2DModel`, by the class that its configuration names.
pub fn of_class(class: &str) -> &'static str {
    if class.contains("Condition") || class.contains("MotionModel") || class.contains("ControlNet") {
        "a network that takes a text or an image beside the noisy one, as those of Stable Diffusion; ddpm reads UNet2DModel"
    } else if class.contains("Transformer") || class.contains("DiT") {
        "a diffusion transformer; ddpm reads UNet2DModel"
    } else if class.contains("Autoencoder") || class.contains("VQ") {
        "an autoencoder, which denoises nothing; ddpm reads UNet2DModel"
    } else if class.contains("Scheduler") {
        "a scheduler's configuration; the network's folder, a UNet2DModel, was wanted"
    } else {
        "not a network that ddpm reads: UNet2DModel"
    }
}
