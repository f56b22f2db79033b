//! The kernels, each for each shape: against the CPU implementation on the same bf16 values, under the emulator as compute
//! capability 9.0 bitwise the same in several schedules, and on a GPU of that capability.

use super::*;
use crate::engine::device::EmuOptions;
use crate::engine::ops::check::{
    Input, NO_HOPPER, Target, compare, emulated, emulator, few, hopper_devices, is_wanted,
};
use crate::engine::ops::concat::join;
use crate::engine::ops::conv2d::layer::Tile;
use crate::engine::ops::conv2d::{CONV2D, Conv2dFwd, Layer, cpu};
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{Store, Tensor};
use half::bf16;
use std::collections::BTreeSet;

/// Operands in bf16 (x, weights, bias, dy, a residual, an earlier gradient of x), and what the CPU makes of the first four.
pub struct Case {
    shape: Conv2dShape,
    inputs: [Vec<f32>; 6],
    pub wanted: [Vec<f64>; 4],
}

impl Case {
    pub fn new(shape: Conv2dShape) -> Case {
        let s = &shape;
        let fan_in = (s.kh * s.kw * s.c_in) as f32;
        let inputs = [
            Input::activation(&[s.n, s.h, s.w, s.c_in]),
            Input::weight(&[s.c_out, s.kh, s.kw, s.c_in]).scaled(fan_in.powf(-0.5)),
            Input::parameter(&[s.c_out]),
            Input::activation(&[s.n, s.out_h(), s.out_w(), s.c_out]),
            Input::activation(&[s.n, s.out_h(), s.out_w(), s.c_out]).scaled(0.6),
            Input::activation(&[s.n, s.h, s.w, s.c_in]).scaled(0.7),
        ]
        .map(|input| input.in_bf16());
        let [x, w, bias, dy, ..] = &inputs;
        let [mut y, mut dx, mut dw, mut dbias] = [dy.len(), x.len(), w.len(), bias.len()].map(|n| vec![0f32; n]);
        cpu::forward(&mut y, x, w, bias, s);
        cpu::backward_data(&mut dx, dy, w, &[], s);
        cpu::backward_weights(&mut dw, dy, x, s);
        cpu::backward_bias(&mut dbias, dy);
        let wanted = [y, dx, dw, dbias].map(|values| values.iter().map(|&v| v as f64).collect());
        Case { shape, inputs, wanted }
    }

    /// Result, gradients of the input, the weights and the bias, computed as planned: with residual and earlier gradient added,
    /// if they are wanted.
    pub fn run(&self, layer: &Layer, target: &Target, with_addends: bool) -> [Vec<f32>; 4] {
        self.run_split(layer, target, with_addends, None)
    }

    /// The same with the input in two tensors, of which the first has so many channels.
    pub fn run_split(&self, layer: &Layer, target: &Target, with_addends: bool, split: Option<usize>) -> [Vec<f32>; 4] {
        let s = &self.shape;
        let mut store = Store::new();
        let parts = match split {
            Some(channels) => vec![channels, s.c_in - channels],
            None => vec![s.c_in],
        };
        let parts: Vec<Tensor> = parts.into_iter().map(|c| store.tensor(&[s.n, s.h, s.w, c], DType::Bf16)).collect();
        let w = store.tensor(&[s.c_out, s.kh, s.kw, s.c_in], DType::Bf16);
        let [dw, bias, dbias] = [w.dims(), vec![s.c_out], vec![s.c_out]].map(|dims| store.tensor(&dims, DType::F32));
        let [dy, residual] = [(); 2].map(|()| store.tensor(&[s.n, s.out_h(), s.out_w(), s.c_out], DType::Bf16));
        let earlier = store.tensor(&[s.n, s.h, s.w, s.c_in], DType::Bf16);
        let mut session = Session::new(target.open(), &store).unwrap();
        let mut tape = Tape::new(session.backend(), DType::Bf16);
        tape.parameter(w, dw);
        tape.parameter(bias, dbias);
        parts.iter().for_each(|&part| tape.watch(part));
        let x = match parts[..] {
            [a, b] => join(&mut tape, a, b),
            _ => parts[0].into(),
        };
        let y = tape.tensor(&dy.dims(), DType::Bf16);
        let added = if with_addends { residual } else { Tensor::EMPTY };
        Conv2dFwd { y, x, w, bias, residual: added, layer: *layer }.record(&mut tape);
        tape.keep(y);
        tape.seed_grad(y, dy);
        if with_addends {
            tape.accumulate(x.whole, earlier);
        }
        tape.backward();
        let dx: Vec<Tensor> = parts.iter().map(|&part| tape.grad(part)).collect();
        dx.iter().for_each(|&dx| tape.keep(dx));
        let [values, inputs @ ..] = &self.inputs;
        for (part, first) in parts.iter().zip([0, split.unwrap_or(0)]) {
            let channels = first..first + part.last_dim();
            session
                .write(*part, &values.chunks(s.c_in).flat_map(|x| x[channels.clone()].to_vec()).collect::<Vec<_>>())
                .unwrap();
        }
        for (tensor, values) in [w, bias, dy, residual, earlier].into_iter().zip(inputs) {
            session.write(tensor, values).unwrap();
        }
        let mut program = session.load(tape).unwrap();
        for kernel in layer.hopper.kernels() {
            assert!(program.kernels().any(|k| k == kernel), "{kernel} runs");
        }
        assert!(!program.kernels().any(|k| k.contains("dbias")), "the kernels of the weight gradient sum dy");
        session.run(&mut program).unwrap_or_else(|e| panic!("{layer:?} on {}: {e}", target.name));
        let [y, dw, dbias] = [y, dw, dbias].map(|t| session.read_in(&program, t).unwrap());
        let dx: Vec<Vec<f32>> = dx.iter().map(|&dx| session.read_in(&program, dx).unwrap()).collect();
        let pixels = dx.iter().zip(&parts).map(|(dx, part)| dx.chunks(part.last_dim()));
        let pixel = |i: usize| pixels.clone().flat_map(move |mut pixels| pixels.nth(i).unwrap().to_vec());
        [y, (0..s.n * s.h * s.w).flat_map(pixel).collect(), dw, dbias]
    }

    /// The sums of such results and the addends, each rounded to bf16.
    pub fn add(&self, [y, dx, dw, dbias]: &[Vec<f32>; 4]) -> [Vec<f32>; 4] {
        let [_, _, _, _, residual, earlier] = &self.inputs;
        let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| bf16::from_f32(a + b).to_f32()).collect();
        [sum(y, residual), sum(dx, earlier), dw.clone(), dbias.clone()]
    }

    /// `y` and `dx` are rounded to bf16, the gradients of the parameters are f32.
    pub fn compare(&self, result: &[Vec<f32>; 4], layer: &Layer, target: &Target) {
        for ((got, wanted), (what, tolerance)) in
            result.iter().zip(&self.wanted).zip([("y", 5e-3), ("dx", 5e-3), ("dw", 2e-5), ("dbias", 1e-5)])
        {
            compare(&format!("{what} of {layer:?} on {}", target.name), got, wanted, tolerance);
        }
    }
}

/// Plans of every kernel that takes the shape, `blocks` persistent blocks or a cluster more, weight gradients in two splits
/// where there are two tiles.
fn layers(shape: Conv2dShape, blocks: usize) -> Vec<Layer> {
    let taps = |plan: TapsPlan| {
        let blocks = plan.tiles.min(blocks).next_multiple_of(plan.cluster);
        TapsPlan { blocks, ..plan }
    };
    let layer = |Plans { fwd, bwd_dx, bwd_dw }: Plans| {
        let hopper = Plans { fwd: fwd.map(taps), bwd_dx: bwd_dx.map(taps), bwd_dw: bwd_dw.map(|plan| plan.split(2)) };
        Layer { hopper, ..Layer::new(shape, &CONV2D) }
    };
    Plans::all(&shape, DType::Bf16).into_iter().map(layer).collect()
}

/// Every kernel that takes the shape, on every device: against the CPU; and with addends in every order, against sums made
/// apart. All kernels of the forward pass give the same bits, and all of the input gradient: which of them runs depends on
/// the batch.
fn check(shape: Conv2dShape, blocks: usize, devices: &[Vec<Target>]) {
    let case = Case::new(shape);
    for orders in devices {
        let mut bits_of: [Option<Vec<f32>>; 2] = [None, None];
        for layer in layers(shape, blocks) {
            let result = case.run(&layer, &orders[0], false);
            case.compare(&result, &layer, &orders[0]);
            let plans = [layer.hopper.fwd, layer.hopper.bwd_dx];
            for ((plan, bits), first) in plans.into_iter().zip(&result).zip(&mut bits_of) {
                let Some(plan) = plan else { continue };
                let first = first.get_or_insert_with(|| bits.clone());
                assert!(first == bits, "{} gives the bits of the others for {shape:?}", plan.kernel);
            }
            let sums = case.add(&result);
            for order in orders {
                let bits = case.run(&layer, order, true);
                assert_eq!(bits, sums, "the same bits in every order: {layer:?} on {}", order.name);
            }
        }
    }
}

/// The first two have several tiles of channels in both passes, for every kernel.
fn same_size() -> [Conv2dShape; 3] {
    [conv3x3(2, 8, [72, 136]), conv3x3(2, 8, [136, 72]), conv3x3(3, 4, [64, 200])]
}

#[test]
fn kernels_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    few(same_size()).for_each(|s| check(s, 1, &devices));
}

/// As few blocks as these tests launch, so that each takes a second tile after its first: all ten tiles of both passes.
#[test]
fn every_kernel_takes_several_tiles_in_turn() {
    let plans = few(same_size()).flat_map(|s| layers(s, 1)).flat_map(|layer| [layer.hopper.fwd, layer.hopper.bwd_dx]);
    let wrapped = plans.flatten().filter(|plan| plan.tiles > plan.blocks).map(|plan| plan.kernel);
    assert_eq!(wrapped.collect::<BTreeSet<_>>().len(), 20);
}

#[test]
fn tiles_reach_over_every_edge() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    few([conv(3, [9, 12], [40, 72], [3, 3], 1), conv(1, [5, 18], [136, 48], [3, 3], 1)])
        .for_each(|s| check(s, 3, &devices));
}

#[test]
fn strides_and_phases_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let below = Conv2dShape { pad_top: 0, pad_left: 0, ..conv(2, [8, 8], [72, 40], [3, 3], 2) };
    few([conv(1, [7, 9], [40, 72], [3, 3], 2), below]).for_each(|s| check(s, 2, &devices));
}

#[test]
fn pointwise_and_linear_layers_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    few([conv(2, [7, 5], [72, 136], [1, 1], 1), Conv2dShape::linear(300, 136, 72)]).for_each(|s| check(s, 2, &devices));
}

#[test]
fn other_kernels_match_the_cpu() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let shapes = [
        conv(1, [6, 8], [40, 48], [4, 4], 2),
        conv(1, [5, 9], [48, 40], [1, 7], 1),
        conv(1, [7, 8], [40, 40], [5, 5], 1),
        conv(1, [6, 8], [40, 40], [1, 1], 2),
    ];
    few(shapes).for_each(|s| check(s, 2, &devices));
}

/// Two tensors joined against one, bit for bit in every order: the second with whole blocks of 64 channels and without, with
/// several taps and strides, and the input gradient added to.
#[test]
fn two_tensors_are_convolved_as_one() {
    let devices = hopper_devices();
    if devices.is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let shapes = [
        (conv(2, [7, 5], [192, 72], [1, 1], 1), 128),
        (conv3x3(2, 8, [136, 64]), 64),
        (conv(1, [6, 8], [168, 40], [3, 3], 2), 128),
    ];
    for (shape, split) in few(shapes) {
        let case = Case::new(shape);
        let both = |layer: &&Layer| layer.hopper.fwd.is_some() && layer.hopper.bwd_dw.is_some();
        let layers = layers(shape, 2);
        assert!(layers.iter().any(|layer| both(&layer)));
        for (layer, orders) in layers.iter().filter(both).flat_map(|layer| devices.iter().map(move |o| (layer, o))) {
            let whole = case.run(layer, &orders[0], true);
            assert!(whole == case.add(&case.run(layer, &orders[0], false)), "{layer:?}");
            for order in orders {
                let joined = case.run_split(layer, order, true, Some(split));
                assert!(joined == whole, "{layer:?} split at {split} on {}", order.name);
            }
        }
    }
}

/// Persistent blocks are as many as a device runs at once; the results are the same.
#[test]
fn the_number_of_multiprocessors_changes_no_bit() {
    if !is_wanted("emu") || hopper_devices().is_empty() {
        crate::skip!("{NO_HOPPER}");
    }
    let with = |multiprocessors| {
        let options = EmuOptions { compute_capability: (9, 0), multiprocessors, ..EmuOptions::default() };
        emulator(DType::Bf16, options)
    };
    for shape in few([conv3x3(2, 8, [72, 136]), conv(1, [7, 9], [40, 72], [3, 3], 2)]) {
        let case = Case::new(shape);
        for layer in layers(shape, usize::MAX) {
            let whole = case.run(&layer, &with(MULTIPROCESSORS as u32), true);
            for multiprocessors in [1, 3, 4] {
                assert!(case.run(&layer, &with(multiprocessors), true) == whole, "{layer:?} on {multiprocessors}");
            }
        }
    }
}

/// The batch chooses among kernels that give the same bits on all other devices, too.
#[test]
fn tiles_of_both_sizes_give_the_same_bits() {
    if let Err(reason) = emulated(EmuOptions::default()) {
        crate::skip!("{reason}");
    }
    let target = emulator(DType::Bf16, EmuOptions::default());
    for shape in [conv3x3(3, 5, [24, 72]), conv(2, [7, 6], [40, 36], [3, 3], 2)] {
        let case = Case::new(shape);
        let [small, large] = [Tile::Small, Tile::Large].map(|tile| {
            let layer = Layer { fwd: tile, bwd_dx: tile, ..Layer::new(shape, &CONV2D) };
            case.run(&layer, &target, false)
        });
        assert!(small[..2] == large[..2], "{shape:?}");
    }
}
