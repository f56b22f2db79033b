use super::*;
use crate::engine::device::{Capability, Device};
use crate::engine::ops::check::{NO_HOPPER, hopper_devices};
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::{Backend, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::config::Shortcut;
use crate::nn::image_size::ImageSize;
use crate::nn::layers::{Forward, ResBlock};
use crate::nn::params::Weights;

fn count(config: &UNetConfig) -> usize {
    let mut params = ParamSet::default();
    unet(config, &mut params).unwrap();
    params.count()
}

/// The network of Ambilduke et al. for MNIST.
fn paired() -> UNetConfig {
    UNetConfig {
        in_channels: 1,
        out_channels: 1,
        channels: vec![64, 128, 256, 512],
        layout: Layout::Paired,
        downsample: Downsample::Conv,
        upsample: Upsample::BilinearConv,
        shortcut: Shortcut::Conv3x3,
        norm_eps: 1e-5,
        ..UNetConfig::default()
    }
}

#[test]
fn published_parameter_counts() {
    assert_eq!(count(&UNetConfig::default()), 35_746_307);
    assert_eq!(count(&paired()), 57_489_857);
    assert_eq!(count(&UNetConfig { out_channels: 2, ..paired() }), 57_490_434);
    assert_eq!(count(&UNetConfig { classes: 3, ..paired() }), 57_490_881);
    let unet64 = UNetConfig {
        image_size: ImageSize::from(64),
        channels: vec![64, 128, 192, 256],
        attention_levels: vec![2, 3],
        head_dim: 32,
        downsample: Downsample::AvgPool,
        upsample: Upsample::Nearest,
        ..UNetConfig::default()
    };
    assert_eq!(count(&unet64), 20_494_211);
}

/// How often a training step concatenates, forward and backward.
fn concatenations(config: &UNetConfig, backend: Backend) -> [usize; 2] {
    let mut params = ParamSet::default();
    let network = unet(config, &mut params).unwrap();
    let ([h, w, c], n) = (config.sample_dims(), 128);
    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, &params, DType::Bf16, true);
    let x = store.tensor(&[n, h, w, c], DType::Bf16);
    let dy = store.tensor(&[n, h, w, config.out_channels], DType::Bf16);
    let t = store.tensor(&[n], DType::F32);
    let mut tape = Tape::new(backend, DType::Bf16);
    let y = network.forward(&mut Forward::evaluate(&mut tape, &weights), x, t, None);
    assert_eq!(y.dims(), dy.dims());
    tape.seed_grad(y, dy);
    tape.backward();
    ["concat_fwd", "concat_bwd"].map(|op| tape.nodes().iter().filter(|node| node.name() == op).count())
}

/// Where kernels read two tensors, nobody stores a skip again.
#[test]
fn skips_are_concatenated_where_a_reader_needs_one_tensor() {
    let [hopper, ampere] = [Capability::Hopper, Capability::Ampere].map(Backend::Gpu);
    assert_eq!(concatenations(&UNetConfig::default(), hopper), [0, 0]);
    assert_eq!(concatenations(&UNetConfig::default(), ampere), [12, 12]);
    // Three resampling layers read skips too.
    assert_eq!(concatenations(&paired(), hopper), [3, 3]);
    assert_eq!(concatenations(&paired(), ampere), [11, 11]);
}

/// Without a convolution after it, the doubled image keeps the channels of the skip.
#[test]
fn the_paired_layout_doubles_images_in_every_way() {
    for upsample in [Upsample::NearestConv, Upsample::Nearest, Upsample::BilinearConv] {
        let config = UNetConfig { channels: vec![32, 64, 96], upsample, ..paired() };
        assert_eq!(concatenations(&config, Backend::Gpu(Capability::Ampere)), [8, 8], "{upsample:?}");
    }
}

/// The result and all gradients of a small network, joined skips against concatenated ones: a group that lies in both
/// tensors, a skip with another number of channels than what it joins.
#[test]
fn joined_skips_change_no_bit() {
    let config = UNetConfig {
        image_size: ImageSize::from(8),
        channels: vec![64, 128],
        layers_per_level: 1,
        attention_levels: vec![],
        mid_attention: false,
        ..UNetConfig::default()
    };
    let mut params = ParamSet::default();
    let network = unet(&config, &mut params).unwrap();
    let philox = Philox::new(RngState { seed: 3, step: 0, first_image: 0 }, Stream::new(5));
    let initial = params.initial(|p, _, values| {
        philox.fill_normal(p as u32, 0, values);
        values.iter_mut().for_each(|v| *v *= 0.1);
    });
    let run = |device: Device, learns: bool, reads: fn(&ResBlock, &mut Forward, [Tensor; 2]) -> bool| {
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::Bf16, learns);
        let [x, dy] = [(); 2].map(|()| store.tensor(&[2, 8, 8, 3], DType::Bf16));
        let t = store.tensor(&[2], DType::F32);
        let mut session = Session::new(device, &store).unwrap();
        let mut tape = Tape::new(session.backend(), DType::Bf16);
        let y = network.record(&mut Forward::evaluate(&mut tape, &weights), x, t, None, reads);
        tape.keep(y);
        if learns {
            tape.seed_grad(y, dy);
            tape.backward();
        }
        let joins = tape.nodes().iter().filter(|node| node.name() == "join").count();
        weights.write(&mut session, &initial).unwrap();
        session.write(t, &[3.0, 700.0]).unwrap();
        for (image, t) in [x, dy].into_iter().enumerate() {
            let mut values = vec![0.0; t.numel()];
            philox.fill_normal(1000 + image as u32, 0, &mut values);
            session.write(t, &values).unwrap();
        }
        let mut program = session.load(tape).unwrap();
        session.run(&mut program).unwrap();
        let y = session.read_in(&program, y).unwrap();
        let gradients = if learns { session.read(weights.gradients).unwrap() } else { Vec::new() };
        (joins, y, gradients)
    };
    let Some(target) = hopper_devices().pop().and_then(|mut orders| orders.pop()) else {
        crate::skip!("{NO_HOPPER}");
    };
    let (joins, y, gradients) = run(target.open(), true, ResBlock::reads_joined);
    let (none, wanted_y, wanted_gradients) = run(target.open(), true, |_, _, _| false);
    assert!(joins == 4 && none == 0, "{joins} and {none} joins");
    assert!(gradients.iter().filter(|g| **g != 0.0).count() > gradients.len() / 2);
    assert!(y == wanted_y && gradients == wanted_gradients);
    // Nothing outlives its last reader here.
    assert!(run(target.open(), false, ResBlock::reads_joined).1 == y);
}

#[test]
fn impossible_configurations_are_refused_by_name() {
    let refused = |config: UNetConfig| unet(&config, &mut ParamSet::default()).unwrap_err().to_string();
    let base = UNetConfig::default();
    assert!(refused(UNetConfig { groups: 48, ..base.clone() }).contains("model.groups = 48"));
    assert!(refused(UNetConfig { image_size: ImageSize::from(36), ..base.clone() }).contains("model.image_size = 36"));
    assert!(refused(UNetConfig { head_dim: 96, ..base.clone() }).contains("model.head_dim = 96"));
    assert!(refused(UNetConfig { attention_levels: vec![4], ..base }).contains("model.attention_levels"));
}
