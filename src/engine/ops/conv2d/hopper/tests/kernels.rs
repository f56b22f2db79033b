//! The kernels under the emulator as compute capability 9.0, each for each shape, in several schedules: against the CPU
//! implementation on the same bf16 values, and bitwise the same in every schedule.

use super::*;
use crate::engine::device::{AsyncCopies, Device, Emu, EmuOptions, Schedule};
use crate::engine::ops::check::{Input, compare, few};
use crate::engine::ops::concat::join;
use crate::engine::ops::conv2d::layer::Tile;
use crate::engine::ops::conv2d::{CONV2D, Conv2dFwd, Layer, cpu};
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{Store, Tensor};
use half::bf16;

pub fn schedules() -> Vec<EmuOptions> {
    let fifo = EmuOptions { compute_capability: (9, 0), ..EmuOptions::default() };
    let skewed = |seed| {
        let async_copies = [AsyncCopies::Late, AsyncCopies::Coin, AsyncCopies::Early][seed as usize % 3];
        EmuOptions { schedule: Schedule::Skew, async_copies, seed, ..fifo }
    };
    if cfg!(ddpm_emu_sanitize = "thread") { vec![fifo] } else { (1..=5).map(skewed).chain([fifo]).collect() }
}

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
    pub fn run(&self, layer: &Layer, options: EmuOptions, with_addends: bool) -> [Vec<f32>; 4] {
        self.run_split(layer, options, with_addends, None)
    }

    /// The same with the input in two tensors, of which the first has so many channels.
    pub fn run_split(
        &self,
        layer: &Layer,
        options: EmuOptions,
        with_addends: bool,
        split: Option<usize>,
    ) -> [Vec<f32>; 4] {
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
        let mut session = Session::new(Device::Gpu(Box::new(Emu::new(options).unwrap())), &store).unwrap();
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
        session.run(&mut program).unwrap_or_else(|e| panic!("{layer:?} with {options:?}: {e}"));
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
    pub fn compare(&self, result: &[Vec<f32>; 4], layer: &Layer) {
        for ((got, wanted), (what, tolerance)) in
            result.iter().zip(&self.wanted).zip([("y", 5e-3), ("dx", 5e-3), ("dw", 2e-5), ("dbias", 1e-5)])
        {
            compare(&format!("{what} of {layer:?}"), got, wanted, tolerance);
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

/// Every kernel that takes the shape: against the CPU; and with addends in every schedule, against sums made apart. All
/// kernels of the forward pass give the same bits, and all of the input gradient: which of them runs depends on the batch.
fn check(shape: Conv2dShape, blocks: usize) {
    if Emu::new(EmuOptions::default()).is_err() {
        crate::skip!("this build has no emulator");
    }
    let case = Case::new(shape);
    let mut bits_of: [Option<Vec<f32>>; 2] = [None, None];
    for layer in layers(shape, blocks) {
        let result = case.run(&layer, schedules()[0], false);
        case.compare(&result, &layer);
        let plans = [layer.hopper.fwd, layer.hopper.bwd_dx];
        for ((plan, bits), first) in plans.into_iter().zip(&result).zip(&mut bits_of) {
            let Some(plan) = plan else { continue };
            let first = first.get_or_insert_with(|| bits.clone());
            assert!(first == bits, "{} gives the bits of the others for {shape:?}", plan.kernel);
        }
        let sums = case.add(&result);
        for options in schedules() {
            let bits = case.run(&layer, options, true);
            assert_eq!(bits, sums, "the same bits in every schedule: {layer:?} with {options:?}");
        }
    }
}

#[test]
fn kernels_match_the_cpu() {
    few([conv3x3(2, 8, [72, 136]), conv3x3(3, 4, [64, 200])]).for_each(|s| check(s, 2));
}

#[test]
fn tiles_reach_over_every_edge() {
    few([conv(3, [9, 12], [40, 72], [3, 3], 1), conv(1, [5, 18], [136, 48], [3, 3], 1)]).for_each(|s| check(s, 3));
}

#[test]
fn strides_and_phases_match_the_cpu() {
    let below = Conv2dShape { pad_top: 0, pad_left: 0, ..conv(2, [8, 8], [72, 40], [3, 3], 2) };
    few([conv(1, [7, 9], [40, 72], [3, 3], 2), below]).for_each(|s| check(s, 2));
}

#[test]
fn pointwise_and_linear_layers_match_the_cpu() {
    few([conv(2, [7, 5], [72, 136], [1, 1], 1), Conv2dShape::linear(300, 136, 72)]).for_each(|s| check(s, 2));
}

#[test]
fn other_kernels_match_the_cpu() {
    let shapes = [
        conv(1, [6, 8], [40, 48], [4, 4], 2),
        conv(1, [5, 9], [48, 40], [1, 7], 1),
        conv(1, [7, 8], [40, 40], [5, 5], 1),
        conv(1, [6, 8], [40, 40], [1, 1], 2),
    ];
    few(shapes).for_each(|s| check(s, 2));
}

/// Two tensors joined against one, bit for bit in every schedule: the second with whole blocks of 64 channels and without, with
/// several taps and strides, and the input gradient added to.
#[test]
fn two_tensors_are_convolved_as_one() {
    if Emu::new(EmuOptions::default()).is_err() {
        crate::skip!("this build has no emulator");
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
        for layer in layers.iter().filter(both) {
            let whole = case.run(layer, schedules()[0], true);
            for options in schedules() {
                let joined = case.run_split(layer, options, true, Some(split));
                assert!(joined == whole, "{layer:?} split at {split} with {options:?}");
            }
        }
    }
}

/// Of the kernels for all other devices, too, the batch chooses among those that give the same bits.
#[test]
fn tiles_of_both_sizes_give_the_same_bits() {
    if Emu::new(EmuOptions::default()).is_err() {
        crate::skip!("this build has no emulator");
    }
    for shape in [conv3x3(3, 5, [24, 72]), conv(2, [7, 6], [40, 36], [3, 3], 2)] {
        let case = Case::new(shape);
        let [small, large] = [Tile::Small, Tile::Large].map(|tile| {
            let layer = Layer { fwd: tile, bwd_dx: tile, ..Layer::new(shape, &CONV2D) };
            case.run(&layer, EmuOptions::default(), false)
        });
        assert!(small[..2] == large[..2], "{shape:?}");
    }
}
