//! Whole training steps: every device that there is against the CPU, from the same seed, and a fixed batch, whose loss
//! they lower. The networks together use every op that training uses.

use ddpm::diffusion::{ImageCoefficients, LossWeighting, PredictionTarget, Process, Reduction, Schedule};
use ddpm::engine::device::Device;
use ddpm::engine::ops::adam::AdamHyper;
use ddpm::engine::ops::check::{NO_HOPPER, few, hopper_devices, targets};
use ddpm::engine::ops::records::{AdamRecord, NoiseRecord};
use ddpm::engine::random::{Philox, RngState, Stream};
use ddpm::engine::tape::{Session, Tape};
use ddpm::engine::tensor::{DType, Store, Tensor};
use ddpm::nn::{
    Activation, Downsample, ImageSize, Init, Layout, MlpConfig, ModelConfig, Network, ParamSet, Pool, ResnetUnetConfig,
    Shortcut, SkipNetConfig, TimeVector, UNetConfig, Upsample, Weights,
};
use ddpm::train::Config;
use ddpm::train::program::{OptimizerState, ShardInputs, record_shard, record_update};

const IMAGES: usize = 3;

fn unets() -> [ModelConfig; 3] {
    let small = UNetConfig {
        image_size: ImageSize::from(20),
        channels: vec![8, 16, 24],
        layers_per_level: 1,
        attention_levels: vec![1],
        groups: 4,
        dropout: 0.1,
        ..UNetConfig::default()
    };
    [
        UNetConfig { head_dim: 8, classes: 3, ..small.clone() },
        UNetConfig {
            in_channels: 1,
            out_channels: 1,
            channels: vec![9, 18],
            groups: 9,
            layout: Layout::Paired,
            downsample: Downsample::Conv,
            upsample: Upsample::BilinearConv,
            shortcut: Shortcut::Conv3x3,
            norm_eps: 1e-5,
            ..small.clone()
        },
        UNetConfig { downsample: Downsample::AvgPool, upsample: Upsample::Nearest, groups: 1, ..small },
    ]
    .map(ModelConfig::Unet)
}

fn other_networks() -> [ModelConfig; 5] {
    let plain =
        SkipNetConfig { image_size: ImageSize::from(8), channels: vec![8, 16], groups: 4, ..SkipNetConfig::default() };
    [
        ModelConfig::SkipNet(SkipNetConfig { attention_blocks: vec![1], time_dim: 8, classes: 3, ..plain.clone() }),
        ModelConfig::SkipNet(SkipNetConfig {
            channels: vec![6, 9],
            pool: Pool::Average,
            activation: Activation::Relu,
            groups: 0,
            attention_blocks: vec![],
            mid_attention: false,
            time: TimeVector::Table,
            ..plain
        }),
        ModelConfig::ResnetUnet(ResnetUnetConfig {
            image_size: ImageSize::from(8),
            channels: vec![4, 8, 8],
            halvings: 1,
            mid_channels: vec![8],
            last_channels: 4,
            layers_per_block: 1,
            heads: 2,
            groups: 2,
            time_dim: 8,
            dropout: 0.1,
            ..ResnetUnetConfig::default()
        }),
        ModelConfig::Mlp(MlpConfig { layers: 4, width: 40, classes: 3, ..MlpConfig::default() }),
        ModelConfig::Mlp(MlpConfig { layers: 3, width: 24, time_dim: 10, ..MlpConfig::default() }),
    ]
}

/// Height and width of the images: as many rows as columns would hide a mistake.
fn size(model: &ModelConfig) -> [usize; 2] {
    match model {
        ModelConfig::Unet(_) => [12, 20],
        ModelConfig::Mlp(_) => [1, 1],
        _ => [4, 6],
    }
}

/// Record of some steps: the loss of each, and the gradients of the first by weight name.
struct Trace {
    losses: Vec<f32>,
    gradients: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// The kernels that a step launches.
    kernels: Vec<String>,
}

/// How many steps, and whether with other times, noise and dropout in each.
#[derive(Clone, Copy)]
enum Steps {
    Varied(u64),
    OfOneBatch(u64),
}

/// Makes some steps.
fn train(model: &ModelConfig, device: Device, dtype: DType, steps: Steps) -> Trace {
    let (count, same_batch) = match steps {
        Steps::Varied(count) => (count, false),
        Steps::OfOneBatch(count) => (count, true),
    };
    let config = Config { model: model.clone(), ..Config::default() };
    let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
    let mut params = ParamSet::default();
    let network = Network::new(model, &mut params).unwrap();
    // Nothing starts at zero, so that every gradient says something.
    let philox = |step| Philox::new(RngState { seed: 11, step, first_image: 0 }, Stream::new(5));
    let initial = params.initial(|p, init, values| {
        philox(0).fill_normal(p as u32, 0, values);
        let (centre, scale) = match init {
            Init::Constant(c) => (c, 0.1),
            Init::Uniform(bound) => (0.0, bound),
            Init::Normal => (0.0, 1.0),
        };
        values.iter_mut().for_each(|v| *v = centre + scale * *v);
    });

    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, &params, dtype, true);
    let inputs = ShardInputs::reserve_sized(&mut store, model, [IMAGES, size(model)[0], size(model)[1]]);
    let mut array = |n| store.tensor(&[n], DType::F32);
    let n = params.flat_len();
    let state = OptimizerState {
        m: array(n),
        v: array(n),
        ema: array(n),
        further: Tensor::EMPTY,
        decays: Tensor::EMPTY,
        hyper: array(AdamRecord::LEN),
        outcome: array(3),
    };
    let mut session = Session::new(device, &store).unwrap();
    let mut tape = Tape::new(session.backend(), dtype);
    let loss = record_shard(&mut tape, &network, &weights, &inputs);
    record_update(&mut tape, &weights, &state, loss, &config);
    let mut program = session.load(tape).unwrap();
    weights.write(&mut session, &initial).unwrap();
    session.write(state.ema, &initial).unwrap();

    let mut images = vec![0.0; inputs.images.numel()];
    philox(1).fill_uniform(0, 0, &mut images);
    session.write(inputs.images, &images.iter().map(|u| 2.0 * u - 1.0).collect::<Vec<f32>>()).unwrap();
    if let Some(labels) = inputs.labels {
        session.write_i32(labels, &[0, 2, 1]).unwrap();
    }
    let mut trace = Trace { losses: Vec::new(), gradients: Vec::new(), kernels: Vec::new() };
    for step in 0..count {
        let draw = if same_batch { 0 } else { step };
        let coefficients: Vec<ImageCoefficients> = [3, 250, 900]
            .map(|t| f64::from(1 + (t - 1 + 10 * draw as u32) % 1000))
            .map(|t| {
                let (target, weighting) = (PredictionTarget::Epsilon, LossWeighting::Simple);
                let batch = [IMAGES, images.len() / IMAGES];
                ImageCoefficients::new(&process, target, weighting, t, batch, Reduction::Mean).unwrap()
            })
            .into();
        let record = |c: &ImageCoefficients| NoiseRecord { a: c.a, sigma: c.sigma, c_x: c.c_x, c_eps: c.c_eps };
        let noise: Vec<f32> = coefficients.iter().flat_map(|c| record(c).values().to_vec()).collect();
        session.write(inputs.coefficients, &noise).unwrap();
        session.write(inputs.weight, &coefficients.iter().map(|c| c.weight).collect::<Vec<_>>()).unwrap();
        session.write(inputs.time, &coefficients.iter().map(|c| c.time).collect::<Vec<_>>()).unwrap();
        let rng = RngState { seed: 5, step: draw as u32, first_image: 0 };
        session.write_i32(inputs.rng, &rng.words()).unwrap();
        let hyper = AdamHyper {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            step: step + 1,
            ema_decay: 0.9,
        };
        session.write(state.hyper, hyper.record().values()).unwrap();
        session.run(&mut program).unwrap();
        trace.losses.push(session.read(state.outcome).unwrap()[1]);
        if step == 0 {
            trace.gradients = params.to_files(&session.read(weights.gradients).unwrap());
        }
    }
    trace.kernels = program.kernels().map(str::to_owned).collect();
    trace
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

impl Trace {
    /// Compares the steps of a device with those of the CPU.
    fn check(&self, cpu: &Trace, dtype: DType, place: &str) {
        let tolerance = if dtype == DType::Bf16 { 2e-2 } else { 1e-5 };
        for (step, (want, got)) in cpu.losses.iter().zip(&self.losses).enumerate() {
            let error = f64::from((got - want).abs() / want);
            assert!(error <= tolerance, "{place}, step {step}: loss {got} is not {want} ({error:.1e})");
        }
        if dtype != DType::Bf16 {
            self.check_gradients(cpu, place);
        }
    }

    fn check_gradients(&self, cpu: &Trace, place: &str) {
        let largest = cpu.gradients.iter().map(|g| norm(g.2.iter().copied())).fold(0.0, f64::max);
        for ((name, _, want), (_, _, got)) in cpu.gradients.iter().zip(&self.gradients) {
            let (size, error) = (norm(want.iter().copied()), norm(want.iter().zip(got).map(|(a, b)| a - b)));
            // Some gradients are zero in theory: what is left of them is the rounding of larger ones.
            let tolerance = (1e-4 * size).max(1e-6 * largest);
            assert!(error <= tolerance, "{place}: gradient of {name} is off by {error:.1e} of {size:.1e}");
        }
    }
}

fn check_every_device(models: impl Iterator<Item = ModelConfig>) {
    for (number, model) in models.enumerate() {
        let steps = Steps::Varied(5);
        let cpu = train(&model, Device::Cpu, DType::F32, steps);
        assert!(cpu.losses.iter().all(|loss| loss.is_finite()) && cpu.losses[0] != cpu.losses[1]);
        for target in targets().iter().filter(|target| target.name != "cpu") {
            let place = format!("network {number} on {}, {:?}", target.name, target.dtype);
            train(&model, target.open(), target.dtype, steps).check(&cpu, target.dtype, &place);
        }
    }
}

#[test]
fn every_device_takes_the_steps_of_the_cpu() {
    check_every_device(few(unets()));
}

#[test]
fn every_device_takes_the_steps_of_the_cpu_with_other_networks() {
    check_every_device(few(other_networks()));
}

/// A network whose layers are wide enough for Hopper's kernels, in bf16.
#[test]
fn hopper_takes_the_steps_of_the_cpu() {
    let model = ModelConfig::Unet(UNetConfig {
        image_size: ImageSize::from(16),
        channels: vec![40, 64],
        layers_per_level: 1,
        attention_levels: vec![1],
        groups: 8,
        ..UNetConfig::default()
    });
    let steps = Steps::Varied(20);
    let cpu = train(&model, Device::Cpu, DType::F32, steps);
    let devices = hopper_devices();
    if devices.is_empty() {
        ddpm::skip!("{NO_HOPPER}");
    }
    // The emulator in the order that hides least; the kernels' own tests try the others.
    for target in devices.iter().map(|orders| &orders[0]) {
        let hopper = train(&model, target.open(), target.dtype, steps);
        for pass in ["conv2d_fwd_sm90", "conv2d_bwd_dx_sm90", "conv2d_bwd_dw_sm90"] {
            assert!(hopper.kernels.iter().any(|kernel| kernel.starts_with(pass)), "no {pass} on {}", target.name);
        }
        hopper.check(&cpu, target.dtype, &target.name);
    }
}

#[test]
fn steps_lower_the_loss_of_a_fixed_batch() {
    for model in unets().iter().chain(&other_networks()) {
        let losses = train(model, Device::Cpu, DType::F32, Steps::OfOneBatch(5)).losses;
        assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{model:?}: {losses:?}");
    }
}
