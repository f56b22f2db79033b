//! Every layout of a model, and what stands where one was wanted.

use super::*;
use crate::nn::torch_file::fixture;
use crate::nn::{Downsample, ImageSize, Init, UNetConfig};
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

mod layouts;
mod mutations;
mod table;

/// A tensor by name: dimensions and values.
type Named = (String, Vec<usize>, Vec<f32>);

fn small() -> UNetConfig {
    UNetConfig {
        image_size: ImageSize::from(4),
        channels: vec![4, 8],
        layers_per_level: 1,
        groups: 2,
        ..UNetConfig::default()
    }
}

/// A model with weights that are small and not all zero.
fn model(unet: UNetConfig) -> ModelFile {
    let config = Config { model: unet.into(), ..Config::default() };
    let (network, params) = network(&config).unwrap();
    let values = params.initial(|p, init, values| {
        for (i, value) in values.iter_mut().enumerate() {
            *value = if init == Init::Constant(1.0) { 1.0 } else { 0.1 * ((p * 131 + i) as f32).sin() };
        }
    });
    ModelFile { config, network, params, values, origin: String::new(), notes: Vec::new() }
}

/// A network that a checkpoint of improved-diffusion can describe.
fn nichol() -> UNetConfig {
    UNetConfig {
        downsample: Downsample::Conv,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        norm_eps: 1e-5,
        out_channels: 6,
        time_scale_shift: true,
        ..small()
    }
}

/// Its tensors, and settings that its file does not say.
fn nichol_checkpoint() -> (Vec<Named>, Vec<String>) {
    (openai_unet::fixture::checkpoint(&nichol()), ["model.groups=2", "model.heads=1"].map(String::from).into())
}

/// Writes a run with one checkpoint, whose path is returned.
fn write_run(folder: &Path, model: &ModelFile) -> PathBuf {
    let run = RunDir::new(folder);
    fs::create_dir_all(run.checkpoints()).unwrap();
    fs::write(run.config(), "").unwrap();
    let [weights, ema, adam_m, adam_v] = [(); 4].map(|()| model.values.clone());
    let state = checkpoint::State { step: 3, weights, ema, adam_m, adam_v, further: Vec::new() };
    let path = checkpoint::path(&run.checkpoints(), 3);
    checkpoint::save(&path, &model.config, &model.params, &state).unwrap();
    path
}

fn write_safetensors(path: &Path, tensors: &[Named]) {
    tensor_file::write(&mut fs::File::create(path).unwrap(), tensors, ("format", "pt")).unwrap();
}

fn open(path: &Path) -> Result<ModelFile> {
    ModelFile::open(path, &Which::Average)
}
