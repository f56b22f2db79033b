use super::*;
use crate::nn::tensor_file::{self, NamedTensor};
use crate::nn::{Architecture, ParamSet};
use serde_json::json;

fn config() -> UNetConfig {
    UNetConfig { channels: vec![8], groups: 4, attention_levels: vec![0], ..UNetConfig::default() }
}

/// The weights of the network, each filled with its own number plus `base`.
fn tensors(base: f32) -> Vec<NamedTensor> {
    let mut params = ParamSet::default();
    config().build(&mut params).unwrap();
    params.to_files(&params.initial(|p, _, values| values.fill(base + p as f32)))
}

fn write_tensors(path: &Path, tensors: &[NamedTensor]) {
    tensor_file::write(&mut fs::File::create(path).unwrap(), tensors, ("format", "pt")).unwrap();
}

fn write_config(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(CONFIG), diffusers_config::to_json(&config()).unwrap()).unwrap();
}

fn write_model(folder: &Path, name: &str, base: f32) {
    write_config(folder);
    write_tensors(&folder.join(name), &tensors(base));
}

/// The first value of the first weight.
fn first(path: &Path, average: bool) -> f32 {
    let model = ModelFolder::open(path, average).unwrap();
    assert_eq!(model.config, config());
    for (name, dims, values) in tensors(0.0) {
        assert_eq!(model.read(&name, &dims).unwrap().len(), values.len());
    }
    let (name, dims, _) = &tensors(0.0)[0];
    model.read(name, dims).unwrap()[0]
}

fn refusal(path: &Path) -> String {
    ModelFolder::open(path, true).err().expect("it is refused").to_string()
}

#[test]
fn a_pipeline_and_a_training_checkpoint_hold_the_model_in_a_part() {
    let root = tempfile::tempdir().unwrap();
    let pipeline = root.path().join("pipeline");
    write_model(&pipeline.join("unet"), WEIGHTS, 1.0);
    let index = json!({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]});
    fs::write(pipeline.join(PIPELINE), index.to_string()).unwrap();
    assert!(ModelFolder::is_one(&pipeline));
    assert_eq!(first(&pipeline, true), 1.0);
    assert_eq!(first(&pipeline.join("unet"), true), 1.0);

    let checkpoint = root.path().join("checkpoint-500");
    write_model(&checkpoint.join("unet"), WEIGHTS, 2.0);
    write_model(&checkpoint.join("unet_ema"), WEIGHTS, 3.0);
    assert_eq!((first(&checkpoint, true), first(&checkpoint, false)), (3.0, 2.0));

    // The first pipelines have everything in one folder.
    write_model(root.path(), WEIGHTS, 4.0);
    fs::write(root.path().join(PIPELINE), index.to_string()).unwrap();
    assert_eq!(first(root.path(), true), 4.0);
}

#[test]
fn variants_and_shards_are_found() {
    let root = tempfile::tempdir().unwrap();
    let fp16 = root.path().join("fp16");
    write_model(&fp16, "diffusion_pytorch_model.fp16.safetensors", 1.0);
    assert_eq!(first(&fp16, true), 1.0);
    write_model(&fp16, "diffusion_pytorch_model.non_ema.safetensors", 2.0);
    let message = refusal(&fp16);
    assert!(message.contains("fp16.safetensors, diffusion_pytorch_model.non_ema"), "{message}");
    assert_eq!(first(&fp16.join("diffusion_pytorch_model.non_ema.safetensors"), true), 2.0);
    write_model(&fp16, WEIGHTS, 3.0);
    assert_eq!(first(&fp16, true), 3.0);

    for variant in ["", ".fp16"] {
        let folder = root.path().join(format!("shards{variant}"));
        write_config(&folder);
        let all = tensors(5.0);
        let mut map = BTreeMap::new();
        for (i, part) in all.chunks(all.len().div_ceil(3)).enumerate() {
            let name = format!("diffusion_pytorch_model{variant}-0000{}-of-00003.safetensors", i + 1);
            write_tensors(&folder.join(&name), part);
            map.extend(part.iter().map(|tensor| (tensor.0.clone(), name.clone())));
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        let index_name = format!("diffusion_pytorch_model.safetensors.index{variant}.json");
        fs::write(folder.join(&index_name), &index).unwrap();
        assert_eq!(first(&folder, true), 5.0);

        fs::remove_file(folder.join(format!("diffusion_pytorch_model{variant}-00002-of-00003.safetensors"))).unwrap();
        let message = refusal(&folder);
        assert!(
            message.contains("-00002-of-00003.safetensors\" is missing, download it too; the folder holds config.json"),
            "{message}"
        );
        fs::write(folder.join(&index_name), index.replace("diffusion_pytorch_model", "../x")).unwrap();
        assert!(refusal(&folder).contains("is missing"));
    }
}

#[test]
fn wrappers_and_pytorchs_own_files_are_read() {
    let root = tempfile::tempdir().unwrap();
    for prefix in ["module.", "_orig_mod."] {
        write_config(root.path());
        let prefixed = tensors(2.0).into_iter().map(|(name, dims, values)| (format!("{prefix}{name}"), dims, values));
        write_tensors(&root.path().join(WEIGHTS), &prefixed.collect::<Vec<_>>());
        assert_eq!(first(root.path(), true), 2.0);
    }
    let folder = root.path().join("bin");
    write_config(&folder);
    fs::copy("tests/golden/state-dict.bin", folder.join("diffusion_pytorch_model.bin")).unwrap();
    let model = ModelFolder::open(&folder, true).unwrap();
    assert_eq!(model.read("half", &[2]).unwrap(), [0.5, -2.0]);
    assert!(model.read("conv_in.weight", &[2]).unwrap_err().to_string().contains("is missing"));
    // Safetensors come first.
    write_tensors(&folder.join("diffusion_pytorch_model.fp16.safetensors"), &tensors(3.0));
    assert_eq!(first(&folder, true), 3.0);
}

#[test]
fn a_missing_file_is_reported_with_those_that_are_there() {
    let root = tempfile::tempdir().unwrap();
    write_config(root.path());
    fs::write(root.path().join("weights.ckpt"), "").unwrap();
    let message = refusal(root.path());
    assert!(message.contains(WEIGHTS) && message.contains("config.json, weights.ckpt"), "{message}");
    let empty = root.path().join("pipeline");
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join(PIPELINE), "{}").unwrap();
    let message = refusal(&empty);
    assert!(message.contains("unet/config.json is missing; the folder holds model_index.json"), "{message}");
}

#[test]
fn settings_of_a_moving_average_are_ignored_by_name() {
    let root = tempfile::tempdir().unwrap();
    write_model(root.path(), WEIGHTS, 1.0);
    let text = fs::read_to_string(root.path().join(CONFIG)).unwrap();
    let text = text.replacen('{', r#"{"decay": 0.9999, "inv_gamma": 1.0, "optimization_step": 500,"#, 1);
    fs::write(root.path().join(CONFIG), text).unwrap();
    let model = ModelFolder::open(root.path(), true).unwrap();
    assert_eq!(model.ignored_keys, ["decay", "inv_gamma", "optimization_step"]);
}
