use super::*;
use crate::engine::ops::check::targets;
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{DType, Store};
use crate::nn::{Architecture, Forward, ModelConfig, Network, ParamSet, Weights, tensor_file};
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A case of `scripts/golden_openai.py`.
#[derive(Deserialize)]
struct Case {
    config: Config,
    size: [usize; 2],
    time_factor: f32,
    times: Vec<f32>,
    labels: Option<Vec<i32>>,
    tensors: Vec<(String, Vec<usize>)>,
    /// `[n, c, h, w]`
    out: Vec<f32>,
}

#[derive(Deserialize)]
struct Config {
    in_channels: usize,
    out_channels: usize,
    channels: Vec<usize>,
    layers: usize,
    attention_levels: Vec<usize>,
    groups: usize,
    heads: usize,
    scale_shift: bool,
    convolves: bool,
    classes: usize,
}

fn case(name: &str) -> Case {
    let packed = GzDecoder::new(&include_bytes!("../../../tests/golden/openai-unet.json.gz")[..]);
    let all: serde_json::Value = serde_json::from_reader(packed).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

/// The script's values between -1 and 1.
fn formula(tensor: usize, len: usize) -> Vec<f64> {
    (0..len).map(|i| (12.9898 * tensor as f64 + 78.233 * i as f64 + 0.5).sin()).collect()
}

impl Case {
    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let value = |(i, (name, dims)): (usize, &(String, Vec<usize>))| {
            let inputs: usize = dims[1..].iter().product();
            let scaled = |wave: f64| match (dims.len() > 1, name.ends_with("weight")) {
                (true, _) => wave * (2.0 / inputs as f64).sqrt(),
                (false, true) => 1.0 + 0.3 * wave,
                (false, false) => 0.2 * wave,
            };
            let values = formula(i, dims.iter().product()).into_iter().map(|wave| scaled(wave) as f32);
            (name.clone(), dims.clone(), values.collect())
        };
        self.tensors.iter().enumerate().map(value).collect()
    }

    fn write(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ema_0.9999_500000.safetensors");
        tensor_file::write(&mut File::create(&path).unwrap(), &self.weights(), ("format", "pt")).unwrap();
        (folder, path)
    }

    /// The network as the file describes it, with what the file does not say.
    fn network(&self, file: &WeightFile) -> UNetConfig {
        let Config { groups, heads, .. } = self.config;
        let time_factor = self.time_factor;
        UNetConfig { groups, heads, time_factor, ..config(file).unwrap() }
    }
}

#[test]
fn shapes_describe_the_network() {
    for name in ["learned", "plain"] {
        let case = case(name);
        let (_folder, path) = case.write();
        let file = WeightFile::open(&path).unwrap();
        assert!(is_one(&file));
        let (found, wanted) = (config(&file).unwrap(), &case.config);
        assert_eq!((found.in_channels, found.out_channels), (wanted.in_channels, wanted.out_channels));
        assert_eq!((&found.channels, found.layers_per_level), (&wanted.channels, wanted.layers));
        assert_eq!((&found.attention_levels, found.time_scale_shift), (&wanted.attention_levels, wanted.scale_shift));
        assert_eq!((found.classes, found.has_null_class()), (wanted.classes, false));
        assert_eq!(found.downsample == Downsample::Conv, wanted.convolves);
        assert_eq!(found.groups, 32);
    }
}

/// The output on every device against the reference, which `scripts/golden_openai.py` computes in float64.
#[test]
fn the_output_is_that_of_the_reference() {
    for name in ["learned", "plain"] {
        let case = case(name);
        let (_folder, path) = case.write();
        let file = WeightFile::open(&path).unwrap();
        let config = case.network(&file);
        let mut params = ParamSet::default();
        let network = Network::new(&ModelConfig::from(config.clone()), &mut params).unwrap();
        let weights = OpenAiWeights::new(&file, &config);
        let flat = params.from_files(|name, dims| weights.read(name, dims)).unwrap();
        let (n, [h, w], c) = (case.times.len(), case.size, case.config.in_channels);
        let nhwc = |values: &[f32], c: usize| -> Vec<f32> {
            let pixel = |i: usize, p: usize| (0..c).map(move |k| values[(i * c + k) * h * w + p]);
            (0..n).flat_map(|i| (0..h * w).flat_map(move |p| pixel(i, p))).collect()
        };
        let input: Vec<f32> = formula(1000, n * c * h * w).into_iter().map(|v| v as f32).collect();
        let want = nhwc(&case.out, case.config.out_channels);
        for target in targets() {
            let device = target.open();
            let (backend, mut store) = (device.backend(), Store::new());
            let values = Weights::reserve(&mut store, &params, target.dtype, false);
            let x = store.tensor(&[n, h, w, c], target.dtype);
            let t = store.tensor(&[n], DType::F32);
            let labels = case.labels.as_ref().map(|_| store.tensor(&[n], DType::I32));
            let mut session = Session::new(device, &store).unwrap();
            let mut tape = Tape::new(backend, target.dtype);
            let out = network.forward(&mut Forward::evaluate(&mut tape, &values), x, t, labels);
            tape.keep(out);
            values.write(&mut session, &flat).unwrap();
            session.write(x, &nhwc(&input, c)).unwrap();
            session.write(t, &case.times).unwrap();
            if let (Some(place), Some(labels)) = (labels, &case.labels) {
                session.write_i32(place, labels).unwrap();
            }
            let mut program = session.load(tape).unwrap();
            session.run(&mut program).unwrap();
            let got = session.read_in(&program, out).unwrap();
            let scale = want.iter().fold(0f32, |a, v| a.max(v.abs()));
            let bound = if target.dtype == DType::Bf16 { 0.06 * scale } else { 1e-4 };
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() <= bound, "{name} on {}: {got} instead of {want}", target.name);
            }
        }
    }
}

/// The rows of q, k and v, by a network of two heads.
#[test]
fn heads_are_outermost_in_their_projection() {
    let case = case("learned");
    let (_folder, path) = case.write();
    let file = WeightFile::open(&path).unwrap();
    let config = case.network(&file);
    let weights = OpenAiWeights::new(&file, &config);
    let all = file.read("middle_block.1.qkv.bias", &[24]).unwrap();
    let rows = |rows: [usize; 8]| rows.map(|row| all[row]).to_vec();
    for (part, wanted) in [
        ("to_q", rows([0, 1, 2, 3, 12, 13, 14, 15])),
        ("to_k", rows([4, 5, 6, 7, 16, 17, 18, 19])),
        ("to_v", rows([8, 9, 10, 11, 20, 21, 22, 23])),
    ] {
        assert_eq!(weights.read(&format!("mid_block.attentions.0.{part}.bias"), &[8]).unwrap(), wanted, "{part}");
    }
}

fn refusal(change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<f32>)>)) -> String {
    let mut weights = case("learned").weights();
    change(&mut weights);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    tensor_file::write(&mut File::create(&path).unwrap(), &weights, ("format", "pt")).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let message = match config(&file) {
        Err(error) => error.to_string(),
        Ok(config) => {
            let mut params = ParamSet::default();
            let config = UNetConfig { groups: 4, heads: 2, ..config };
            config.build(&mut params).unwrap();
            let weights = OpenAiWeights::new(&file, &config);
            params.from_files(|name, dims| weights.read(name, dims)).unwrap_err().to_string()
        }
    };
    assert!(message.starts_with(&Path::new(&path).display().to_string()) && !message.contains('\n'), "{message}");
    message
}

#[test]
fn layers_that_ours_lacks_are_named() {
    let rename = |from: &'static str, to: &'static str| {
        move |weights: &mut Vec<(String, Vec<usize>, Vec<f32>)>| {
            weights.iter_mut().for_each(|(name, _, _)| *name = name.replace(from, to));
        }
    };
    let message = refusal(rename("output_blocks.1.2.conv", "output_blocks.1.2.in_layers.2"));
    assert!(message.contains("resblock_updown"), "{message}");
    let message = refusal(rename("input_blocks.3.1.proj_out", "input_blocks.3.1.transformer_blocks.0"));
    assert!(message.contains("attention to a text"), "{message}");
    let message = refusal(rename("input_blocks.3.1.norm", "input_blocks.3.1.elsewhere"));
    assert!(message.contains("\"input_blocks.3.1.norm.weight\""), "{message}");
    let message = refusal(|weights| weights.retain(|(name, _, _)| !name.starts_with("middle_block.1.")));
    assert!(message.contains("\"middle_block.1.qkv.weight\" is missing"), "{message}");
    let message = refusal(|weights| {
        let first = weights.iter_mut().find(|(name, _, _)| name == "input_blocks.0.0.weight").unwrap();
        (first.1, first.2) = (vec![4, 6, 3, 3], vec![0.0; 4 * 6 * 9]);
    });
    assert!(message.contains("an upsampling model"), "{message}");
    let message = refusal(|weights| weights.retain(|(name, _, _)| !name.starts_with("input_blocks.5.1.")));
    // Without attention, the convolution that resamples would stand in its place.
    assert!(message.contains("\"output_blocks.1.1.conv.weight\""), "{message}");
}
