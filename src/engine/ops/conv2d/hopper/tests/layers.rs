//! Every layer shape of the benchmark models, as recorded from their training steps: with the kernels, tiles and stages
//! of the full batch, on as few images as fill a tile.

use super::kernels::Case;
use super::*;
use crate::engine::device::Capability;
use crate::engine::ops::check::{NO_HOPPER, hopper_devices, is_short, is_thorough};
use crate::engine::ops::conv2d::hopper::limits::flattened;
use crate::engine::ops::conv2d::hopper::pixels::Grid;
use crate::engine::ops::conv2d::{CONV2D, Layer, few};
use crate::engine::tape::{Arg, Backend, Launch};
use crate::profile::Step;
use crate::train::presets;
use half::bf16;
use std::collections::BTreeSet;

/// Presets and the batches that they are measured with.
pub const MODELS: [(&str, usize); 3] = [("ddpm-cifar10", 128), ("mnist-123", 128), ("unet64", 32)];

/// The launches of convolutions and linear layers in a training step.
fn launches((preset, batch_size): (&str, usize), capability: Capability) -> Vec<Launch> {
    let mut config = presets::get(preset).unwrap();
    config.train.batch_size = batch_size;
    let step = Step::plan(&config, Backend::Gpu(capability), DType::Bf16).unwrap();
    let launches = step.work.into_iter().filter_map(|work| work.launch);
    launches.filter(|launch| launch.kernel.starts_with("conv2d_")).collect()
}

/// The different shapes of a model's convolutions and linear layers, at its whole batch: those with several taps and many
/// channels first, the smallest of them first.
pub fn shapes(model: (&str, usize)) -> Vec<Conv2dShape> {
    let mut shapes = Vec::new();
    for launch in launches(model, Capability::Ampere).iter().filter(|launch| launch.kernel.starts_with("conv2d_fwd_")) {
        let numbers: Vec<usize> = launch
            .args
            .iter()
            .filter_map(|arg| match arg {
                Arg::I32(number) => Some(*number as usize),
                _ => None,
            })
            .collect();
        let [n, h, w, c_in, c_out, kh, kw, stride, pad_top, pad_left, out_h, out_w] = match numbers[..] {
            // The kernel for few output channels, with a block for each tile of an image.
            [h, w, c_in, c_out] => [launch.grid[2] as usize, h, w, c_in, c_out, 3, 3, 1, 1, 1, h, w],
            _ => numbers[..].try_into().unwrap_or_else(|_| panic!("the dimensions of {launch:?}")),
        };
        let pad = |out: usize, kernel: usize, size: usize, before: usize| {
            ((out - 1) * stride + kernel).saturating_sub(size + before)
        };
        let (pad_bottom, pad_right) = (pad(out_h, kh, h, pad_top), pad(out_w, kw, w, pad_left));
        let shape = Conv2dShape { n, h, w, c_in, c_out, kh, kw, stride, pad_top, pad_left, pad_bottom, pad_right };
        assert_eq!((shape.out_h(), shape.out_w()), (out_h, out_w));
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes.sort_by_key(|s| (s.kh == 1, s.c_in.min(s.c_out) < 32, s.flops()));
    shapes
}

/// The layer of the whole batch with `n` images: all that does not follow from their number stays as it is.
fn with_images(layer: &Layer, n: usize) -> Layer {
    let shape = Conv2dShape { n, ..layer.shape };
    let seen = |planned: &Conv2dShape| if *planned == layer.shape { shape } else { flattened(&shape) };
    let taps = |plan: TapsPlan| {
        let shape = seen(&plan.shape);
        let (grid, phases) = match plan.pass {
            Pass::Forward => (Grid { n: shape.n, h: shape.out_h(), w: shape.out_w() }, 1),
            Pass::InputGradient => {
                let [h, w] = [shape.h, shape.w].map(|size| size.div_ceil(shape.stride));
                (Grid { n: shape.n, h, w }, shape.stride * shape.stride)
            }
        };
        let channels = if plan.pass == Pass::Forward { shape.c_out } else { shape.c_in };
        let pixel_tiles = plan.tile.count(grid).next_multiple_of(plan.cluster);
        let tiles = pixel_tiles * channels.div_ceil(plan.channels) * phases;
        // As on a GPU, blocks take several tiles in turn.
        TapsPlan { shape, tiles, blocks: tiles.div_ceil(3).next_multiple_of(plan.cluster), ..plan }
    };
    let wgrad = |plan: WgradPlan| {
        let shape = seen(&plan.shape);
        let tiles = plan.tile.count(Grid { n: shape.n, h: shape.out_h(), w: shape.out_w() });
        WgradPlan { shape, tiles, ..plan }.split(plan.splits.min(2))
    };
    let Plans { fwd, bwd_dx, bwd_dw } = layer.hopper;
    let hopper = Plans { fwd: fwd.map(taps), bwd_dx: bwd_dx.map(taps), bwd_dw: bwd_dw.map(wgrad) };
    Layer { shape, hopper, ..*layer }
}

/// Images that fill a tile of every kernel, one for each block of a cluster.
fn images(layer: &Layer) -> usize {
    let Plans { fwd, bwd_dx, bwd_dw } = &layer.hopper;
    let taps = [fwd, bwd_dx].into_iter().flatten().map(|plan| plan.tile.pixels() * plan.cluster);
    let wgrad = bwd_dw.map(|plan| plan.tile.pixels());
    let s = &layer.shape;
    let pixels = taps.chain(wgrad).chain([layer.fwd.side()]).max().unwrap_or(0);
    pixels.div_ceil(s.out_h() * s.out_w()).min(s.n)
}

/// Root-mean-square error over that of the rounding alone.
fn error_ratio(got: &[f32], wanted: &[f64]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|error| error * error).sum::<f64>();
    let error = squares(&mut got.iter().zip(wanted).map(|(&got, wanted)| got as f64 - wanted));
    (error / squares(&mut wanted.iter().map(|&wanted| bf16::from_f64(wanted).to_f64() - wanted))).sqrt()
}

/// The layers of one model, on Hopper's kernels and on those for everything else, against the CPU: y and dx with at most
/// twice the error of rounding to bf16. If all orders are wanted: with addends, bitwise the same in every one.
fn check(model: usize) {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let shapes = shapes(MODELS[model]);
    let is_short = is_short() || cfg!(ddpm_emu_sanitize = "address");
    let mut worst = 0f64;
    for shape in &shapes[..if is_short { 2 } else { shapes.len() }] {
        let chosen = (Plans::new(shape, DType::Bf16), few::takes(shape, DType::Bf16));
        for (hopper, few) in [chosen, (Plans::default(), false)] {
            let whole = Layer { hopper, few, ..Layer::new(*shape, &CONV2D) };
            let layer = with_images(&whole, images(&whole));
            let case = Case::new(layer.shape);
            for orders in &devices {
                let result = case.run(&layer, &orders[0], false);
                case.compare(&result, &layer, &orders[0]);
                for (got, wanted) in result.iter().zip(&case.wanted).take(2) {
                    let ratio = error_ratio(got, wanted);
                    assert!(ratio <= 2.0, "{ratio} times the error of rounding on {}: {layer:?}", orders[0].name);
                    worst = worst.max(ratio);
                }
                if is_thorough() {
                    let sums = case.add(&result);
                    for order in orders {
                        assert_eq!(case.run(&layer, order, true), sums, "{layer:?} on {}", order.name);
                    }
                }
            }
        }
    }
    println!("{}: {} shapes, at worst {worst:.3} times the error of rounding", MODELS[model].0, shapes.len());
}

/// The plans that these tests check are those that a step launches.
#[test]
fn steps_launch_what_is_planned_for_their_shapes() {
    for model in MODELS {
        let shapes = shapes(model);
        let planned: BTreeSet<_> = shapes.iter().flat_map(|s| Plans::new(s, DType::Bf16).kernels()).collect();
        let launched = launches(model, Capability::Hopper).into_iter().map(|launch| launch.kernel);
        let launched: BTreeSet<String> = launched.filter(|kernel| kernel.contains("_sm90_")).collect();
        assert!(launched.iter().eq(&planned), "{model:?}: {launched:?} are launched, {planned:?} are planned");
    }
}

#[test]
fn benchmark_layers_of_cifar10_match_the_cpu() {
    check(0);
}

#[test]
fn benchmark_layers_of_mnist_match_the_cpu() {
    check(1);
}

#[test]
fn benchmark_layers_of_unet64_match_the_cpu() {
    check(2);
}
