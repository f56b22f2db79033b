//! Comparison of the networks with PyTorch: outputs and every gradient of tiny networks that diffusers, or for what it does not have
//! a PyTorch version of ours, computed in float64; `scripts/golden.py` makes the files.

use super::{
    Downsample, Forward, ImageSize, Layout, ModelConfig, Network, ParamSet, Shortcut, UNetConfig, Upsample, Weights,
    diffusers,
};
use crate::engine::ops::check::{Target, targets};
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{DType, Store};
use crate::nn::diffusers_config;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;

/// Tensors of a file by current name, as f32.
fn tensors(bytes: &[u8]) -> HashMap<String, Vec<f32>> {
    let file = SafeTensors::deserialize(bytes).expect("a golden file");
    let values = |view: &TensorView| match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
        Dtype::F16 => view.data().as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
        other => panic!("{other:?} in a golden file"),
    };
    file.iter().map(|(name, view)| (diffusers::current_name(name).into_owned(), values(&view))).collect()
}

/// `[n, c, h, w]` as `[n, h, w, c]`.
fn channels_last(values: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let pixel = |n: usize, p: usize| (0..c).map(move |channel| values[(n * c + channel) * h * w + p]);
    (0..n).flat_map(|i| (0..h * w).flat_map(move |p| pixel(i, p))).collect()
}

struct Golden<'a> {
    config: ModelConfig,
    weights: &'a [u8],
    input: &'a [u8],
    expected: &'a [u8],
}

/// The result of a network and all gradients, those of parameters by their names in files.
struct Outcome {
    out: Vec<f32>,
    dx: Vec<f32>,
    gradients: HashMap<String, Vec<f32>>,
}

impl Golden<'_> {
    fn check_everywhere(&self) {
        for target in targets() {
            self.check(&target);
        }
    }

    fn dims(&self, name: &str) -> [usize; 4] {
        SafeTensors::deserialize(self.input).unwrap().tensor(name).unwrap().shape().try_into().unwrap()
    }

    fn compute(&self, target: &Target) -> Outcome {
        let device = target.open();
        let backend = device.backend();
        let mut params = ParamSet::default();
        let network = Network::new(&self.config, &mut params).unwrap();
        let weights = tensors(self.weights);
        let flat =
            params.from_files(|name, _| Ok(weights.get(name).unwrap_or_else(|| panic!("no {name}")).clone())).unwrap();

        let [dims, out_dims] = ["x", "dout"].map(|name| self.dims(name));
        let nhwc = |[n, c, h, w]: [usize; 4]| [n, h, w, c];
        let mut store = Store::new();
        let values = Weights::reserve(&mut store, &params, target.dtype, true);
        let x = store.tensor(&nhwc(dims), target.dtype);
        let t = store.tensor(&[dims[0]], DType::F32);
        let dout = store.tensor(&nhwc(out_dims), target.dtype);
        let mut session = Session::new(device, &store).unwrap();
        let mut tape = Tape::new(backend, target.dtype);
        tape.watch(x);
        let out = network.forward(&mut Forward::evaluate(&mut tape, &values), x, t, None);
        tape.keep(out);
        tape.seed_grad(out, dout);
        tape.backward();
        let dx = tape.grad(x);
        tape.keep(dx);

        let input = tensors(self.input);
        values.write(&mut session, &flat).unwrap();
        session.write(x, &channels_last(&input["x"], dims)).unwrap();
        session.write(t, &input["t"]).unwrap();
        session.write(dout, &channels_last(&input["dout"], out_dims)).unwrap();
        let mut program = session.load(tape).unwrap();
        session.run(&mut program).unwrap();
        let gradients = params.to_files(&session.read(values.gradients).unwrap());
        Outcome {
            out: session.read_in(&program, out).unwrap(),
            dx: session.read_in(&program, dx).unwrap(),
            gradients: gradients.into_iter().map(|(name, _, values)| (name, values)).collect(),
        }
    }

    fn check(&self, target: &Target) {
        let (got, expected) = (self.compute(target), tensors(self.expected));
        // bf16 has 8 bits, and some 30 roundings lie between input and output.
        let bf16 = target.dtype == DType::Bf16;
        let worst = |what: &str, got: &[f32], want: &[f32], bound: &dyn Fn(f32) -> f32| {
            assert_eq!(got.len(), want.len());
            let excess = |(got, want): (&f32, &f32)| (got - want).abs() / bound(*want);
            let off = got.iter().zip(want).map(excess).fold(0.0, |a: f32, b| if b <= a || a.is_nan() { a } else { b });
            assert!(off <= 1.0, "{}: {what} is {off:.2} times the bound away", target.name);
        };
        let scale = |values: &[f32]| values.iter().fold(0.0f32, |a, v| a.max(v.abs()));

        let want = channels_last(&expected["out"], self.dims("dout"));
        let bound = if bf16 { 0.06 * scale(&want) } else { 1e-4 };
        worst("the output", &got.out, &want, &|_| bound);

        let norm = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        let largest = expected.iter().filter(|(n, _)| *n != "out").map(|(_, v)| norm(v)).fold(0.0, f32::max);
        let gradient = |what: &str, got: &[f32], want: &[f32]| {
            let scale = scale(want);
            let bound = |v: f32| if bf16 { 0.1 * scale + 2e-2 * largest } else { (1e-4 * v.abs()).max(1e-6 * largest) };
            worst(what, got, want, &bound);
        };
        gradient("dx", &got.dx, &channels_last(&expected["dx"], self.dims("x")));
        for (name, got) in &got.gradients {
            let want = expected.get(name).unwrap_or_else(|| panic!("no gradient of {name} in the golden file"));
            gradient(&format!("the gradient of {name}"), got, want);
        }
    }
}

macro_rules! golden_folder {
    ($name:ident, $folder:literal) => {
        #[test]
        fn $name() {
            let text = include_str!(concat!("../../tests/golden/", $folder, "/config.json"));
            let golden = Golden {
                config: ModelConfig::Unet(diffusers_config::from_json(text).unwrap()),
                weights: include_bytes!(concat!(
                    "../../tests/golden/",
                    $folder,
                    "/diffusion_pytorch_model.safetensors"
                )),
                input: include_bytes!(concat!("../../tests/golden/", $folder, "/input.safetensors")),
                expected: include_bytes!(concat!("../../tests/golden/", $folder, "/expected.safetensors")),
            };
            golden.check_everywhere();
        }
    };
}

golden_folder!(unet_without_attention, "unet-plain");
golden_folder!(unet_with_heads, "unet-heads");
golden_folder!(unet_with_legacy_names, "unet-legacy");
golden_folder!(unet_with_scale_and_shift, "unet-scale-shift");

macro_rules! golden_network {
    ($name:ident, $folder:literal) => {
        #[test]
        fn $name() {
            let golden = Golden {
                config: serde_json::from_str(include_str!(concat!("../../tests/golden/", $folder, "/model.json")))
                    .unwrap(),
                weights: include_bytes!(concat!("../../tests/golden/", $folder, "/weights.safetensors")),
                input: include_bytes!(concat!("../../tests/golden/", $folder, "/input.safetensors")),
                expected: include_bytes!(concat!("../../tests/golden/", $folder, "/expected.safetensors")),
            };
            golden.check_everywhere();
        }
    };
}

golden_network!(skip_net_with_a_table_of_times, "skip-net-plain");
golden_network!(skip_net_with_attention, "skip-net-attention");
golden_network!(resnet_unet, "resnet-unet");
golden_network!(mlp_of_the_time, "mlp-time");
golden_network!(mlp_of_sinusoids, "mlp-sinusoids");

#[test]
fn paired_layout() {
    let golden = Golden {
        config: ModelConfig::Unet(UNetConfig {
            image_size: ImageSize::from(8),
            in_channels: 1,
            out_channels: 2,
            channels: vec![2, 4],
            attention_levels: vec![1],
            groups: 2,
            norm_eps: 1e-5,
            layout: Layout::Paired,
            downsample: Downsample::Conv,
            upsample: Upsample::BilinearConv,
            shortcut: Shortcut::Conv3x3,
            ..UNetConfig::default()
        }),
        weights: include_bytes!("../../tests/golden/paired/weights.safetensors"),
        input: include_bytes!("../../tests/golden/paired/input.safetensors"),
        expected: include_bytes!("../../tests/golden/paired/expected.safetensors"),
    };
    golden.check_everywhere();
}
