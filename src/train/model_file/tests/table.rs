//! The table of models in `docs/formats.md`: each row is tried with a small model.

use super::*;
use crate::data::tests::rows::{Folder, walk};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

const SAFETENSORS: &str = "weights.safetensors";
const TORCH: &str = "weights.pt";
/// Settings that a checkpoint of [`nichol`] does not say.
const UNSAID: &[&str] = &["model.image_size=4", "model.groups=2", "model.heads=1", "model.time_factor=1.0"];

type Write = fn(&Folder) -> &'static str;

/// The name of a row, settings to open it with, and what writes its input and returns the path to open.
const INPUTS: &[(&str, &[&str], Write)] = &[
    ("checkpoint of a run", &[], |to| {
        write_run(to.0, &sound());
        "checkpoints/step-00000003.safetensors"
    }),
    ("run", &[], |to| {
        write_run(to.0, &sound());
        "."
    }),
    ("run without a checkpoint", &[], |to| to.write_all(&[("config.toml", "")])),
    ("folder of runs", &[], |to| to.write_all(&[("digits-001/config.toml", "")])),
    ("model folder of diffusers", &[], |to| export(to, "folder", false)),
    ("file of weights beside its config.json", &[], |to| {
        export(to, ".", false);
        model_folder::WEIGHTS
    }),
    ("pipeline of diffusers", &[], |to| export(to, "pipeline", true)),
    ("pipeline in one folder", &[], |to| {
        export(to, ".", false);
        to.write_all(&[("model_index.json", PIPELINE)])
    }),
    ("pipeline without its U-Net", &[], |to| to.write_all(&[("model_index.json", PIPELINE)])),
    ("checkpoint of accelerate", &[], |to| {
        export(to, "unet_ema", false);
        to.write_all(&[("optimizer.bin", "")])
    }),
    ("folder of checkpoints of accelerate", &[], |to| {
        export(to, "checkpoint-500/unet", false);
        "."
    }),
    ("checkpoint of accelerate without a network", &[], |to| to.write_all(&[("optimizer.bin", "")])),
    ("fp16 variant", &[], |to| renamed(to, "diffusion_pytorch_model.fp16.safetensors")),
    ("several variants", &[], |to| {
        renamed(to, "diffusion_pytorch_model.fp16.safetensors");
        to.write_all(&[("diffusion_pytorch_model.non_ema.safetensors", "")])
    }),
    ("shards with their index", &[], |to| shards(to, 2)),
    ("shards of which one is missing", &[], |to| shards(to, 1)),
    ("diffusion_pytorch_model.bin", &[], |to| in_folder(to, "diffusion_pytorch_model.bin", &torch(&tensors()))),
    ("weights in float64", &[], |to| typed(to, Dtype::F64, |v| f64::from(v).to_le_bytes())),
    ("weights in float16", &[], |to| typed(to, Dtype::F16, |v| f16::from_f32(v).to_le_bytes())),
    ("weights in bfloat16", &[], |to| typed(to, Dtype::BF16, |v| bf16::from_f32(v).to_le_bytes())),
    ("weights in 8 bits", &[], |to| typed(to, Dtype::F8_E4M3, |_| [0])),
    ("weights of a model in a wrapper", &[], |to| {
        let wrapped = tensors().into_iter().map(|(name, dims, values)| (format!("module.{name}"), dims, values));
        in_folder(to, model_folder::WEIGHTS, &safetensors(&wrapped.collect::<Vec<_>>()))
    }),
    ("improved-diffusion", UNSAID, |to| {
        let name = "ema_0.9999_500000.pt";
        to.write(name, torch(&openai_unet::fixture::checkpoint(&nichol())))
    }),
    ("improved-diffusion as safetensors", UNSAID, |to| {
        to.write(SAFETENSORS, safetensors(&openai_unet::fixture::checkpoint(&nichol())))
    }),
    ("guided-diffusion without resblock_updown", UNSAID, |to| {
        to.write("model500000.pt", torch(&openai_unet::fixture::checkpoint(&guided())))
    }),
    ("guided-diffusion with resblock_updown", UNSAID, |to| {
        named(to, TORCH, &[OPENAI, &["output_blocks.2.1.in_layers.0.weight"]].concat())
    }),
    ("classifier of guided-diffusion", &[], |to| {
        named(to, TORCH, &["time_embed.0.weight", "input_blocks.0.0.weight", "out.2.positional_embedding"])
    }),
    ("denoising-diffusion-pytorch", &[], |to| {
        let tensors = ones(&["init_conv.weight", "downs.0.0.block1.proj.weight"]);
        to.write("model-10.pt", fixture::state_dict(&tensors, Some("model")))
    }),
    ("score_sde", &[], |to| named(to, TORCH, &["module.all_modules.0.weight"])),
    ("code of the DDIM authors", &[], |to| {
        named(to, "model-790000.ckpt", &["temb.dense.0.weight", "down.0.block.0.conv1.weight"])
    }),
    ("Stable Diffusion in one file", &[], |to| {
        named(to, SAFETENSORS, &["model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias"])
    }),
    ("UNet2DConditionModel", &[], |to| class(to, "UNet2DConditionModel")),
    ("diffusion transformer", &[], |to| class(to, "DiTTransformer2DModel")),
    ("autoencoder", &[], |to| class(to, "AutoencoderKL")),
    ("text encoder", &[], |to| named(to, SAFETENSORS, &["text_model.encoder.layers.0.mlp.fc1.bias"])),
    ("LoRA", &[], |to| named(to, SAFETENSORS, &["unet.to_q.lora_A.weight"])),
    ("scheduler's configuration", &[], |to| class(to, "DDPMScheduler")),
    ("weights of a UNet2DModel without its config.json", &[], |to| {
        named(to, SAFETENSORS, &["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"])
    }),
    ("state of an optimiser", &[], |to| named(to, TORCH, &["state.exp_avg"])),
    ("file of PyTorch before 1.6", &[], |to| {
        to.write(TORCH, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    }),
    ("pickle of a model", &[], |to| to.write("network-snapshot.pkl", b"\x80\x04}\x94.")),
    ("model saved whole by torch.save", &[], |to| {
        to.write(TORCH, fixture::archive(b"\x80\x02cunet\nUNet\n)\x81}X\x08\x00\x00\x00trainingK\x01sb.", &[]))
    }),
    ("several files of weights in a folder", &[], |to| to.write_all(&[("a.pt", ""), ("b.pt", "")])),
    ("one file of weights in a folder", &[], |to| to.write_all(&[("a.pt", "")])),
    ("ONNX", &[], |to| to.write("model.onnx", "")),
    ("Flax", &[], |to| to.write_all(&[("diffusion_flax_model.msgpack", "")])),
    ("Keras and TensorFlow", &[], |to| to.write("model.ckpt.index", "")),
    ("GGUF", &[], |to| to.write("unet", "GGUF\x03")),
    (".npz of weights", &[], |to| to.write("weights.npz", "")),
    ("archive of a model folder", &[], |to| to.write("model.tar.gz", "")),
    ("pointer of Git LFS", &[], |to| {
        in_folder(to, model_folder::WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    }),
    ("page of a website", &[], |to| to.write(SAFETENSORS, "<!DOCTYPE html>")),
    ("images", &[], |to| to.write_all(&[("0.png", "")])),
];

const PIPELINE: &str = r#"{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}"#;
const SHARDS: [&str; 2] =
    ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
/// Names of the tensors by which a checkpoint of improved-diffusion is known.
const OPENAI: &[&str] = &["time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"];

/// A network of guided-diffusion that knows classes, but not the lack of one.
fn guided() -> UNetConfig {
    UNetConfig { classes: 3, null_class: false, ..nichol() }
}

/// The model of [`small`] with weights that every type of floats holds exactly.
fn sound() -> ModelFile {
    let mut sound = model(small());
    sound.values.iter_mut().for_each(|value| *value = (*value * 1024.0).round() / 1024.0);
    sound
}

fn tensors() -> Vec<Named> {
    let sound = sound();
    sound.params.to_files(&sound.values)
}

fn ones(names: &[&str]) -> Vec<Named> {
    names.iter().map(|name| ((*name).to_owned(), vec![1], vec![1.0])).collect()
}

fn torch(tensors: &[Named]) -> Vec<u8> {
    fixture::state_dict(tensors, None)
}

fn safetensors(tensors: &[Named]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensor_file::write(&mut bytes, tensors, ("format", "pt")).unwrap();
    bytes
}

/// Writes a file of such tensors.
fn named(to: &Folder, file: &'static str, names: &[&str]) -> &'static str {
    to.write(file, if file == SAFETENSORS { safetensors(&ones(names)) } else { torch(&ones(names)) })
}

fn export(to: &Folder, name: &'static str, pipeline: bool) -> &'static str {
    sound().export(&to.0.join(name), pipeline).unwrap();
    name
}

/// Writes a model folder whose weights are these bytes.
fn in_folder(to: &Folder, name: &'static str, bytes: &[u8]) -> &'static str {
    export(to, ".", false);
    fs::remove_file(to.0.join(model_folder::WEIGHTS)).unwrap();
    to.write(name, bytes);
    "."
}

fn renamed(to: &Folder, name: &'static str) -> &'static str {
    in_folder(to, name, &safetensors(&tensors()))
}

/// Writes the first of two shards, or both, and their index.
fn shards(to: &Folder, written: usize) -> &'static str {
    let (tensors, mut map) = (tensors(), serde_json::Map::new());
    let parts = tensors.chunks(tensors.len().div_ceil(2)).zip(SHARDS);
    parts.clone().for_each(|(part, file)| map.extend(part.iter().map(|tensor| (tensor.0.clone(), file.into()))));
    let index = json!({ "metadata": {}, "weight_map": map }).to_string();
    in_folder(to, "diffusion_pytorch_model.safetensors.index.json", index.as_bytes());
    for (part, file) in parts.take(written) {
        to.write(file, safetensors(part));
    }
    "."
}

/// Writes a model folder with weights of a type.
fn typed<const N: usize>(to: &Folder, dtype: Dtype, bytes: fn(f32) -> [u8; N]) -> &'static str {
    let tensors = tensors();
    let data: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|&value| bytes(value)).collect()).collect();
    let view =
        |((name, dims, _), data): (&Named, _)| (name.clone(), TensorView::new(dtype, dims.clone(), data).unwrap());
    let views: Vec<(String, TensorView)> = tensors.iter().zip(data.iter().map(|data| &data[..])).map(view).collect();
    in_folder(to, model_folder::WEIGHTS, &::safetensors::serialize(views, None).unwrap())
}

/// Writes the configuration of another class.
fn class(to: &Folder, class: &str) -> &'static str {
    to.write("config.json", json!({ "_class_name": class }).to_string());
    "."
}

#[test]
fn every_row_of_the_table_is_tried() {
    let names: Vec<&str> = INPUTS.iter().map(|(name, ..)| *name).collect();
    walk("Models", &names, |at, row| {
        let (_, settings, write) = INPUTS[at];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(write(&Folder(folder.path())));
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        let found = ModelFile::open_with(&path, &Which::Average, &settings).map_err(|e| e.to_string())?;
        let wanted = match &row.name[..] {
            _ if settings.is_empty() => sound(),
            "guided-diffusion without resblock_updown" => model(UNetConfig { heads: 1, ..guided() }),
            _ => model(UNetConfig { heads: 1, ..nichol() }),
        };
        assert_eq!(found.config.model, wanted.config.model, "{}", row.name);
        assert!(found.values == wanted.values, "{}", row.name);
        Ok(())
    });
}
