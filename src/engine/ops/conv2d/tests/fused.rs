//! Compares what a convolution adds to its result, a residual or the earlier contributions to a gradient, with separate
//! ops.

use super::*;
use crate::engine::ops::add::add;
use crate::engine::ops::check::Outcome;
use crate::engine::ops::linear::{linear, linear_add};
use half::bf16;

/// A convolution with 3x3 taps, and kernels that it must launch on Hopper.
struct Layer {
    x: [usize; 4],
    c_out: usize,
    stride: usize,
    hopper: Option<&'static [&'static str]>,
}

/// Odd channels in phases; whole vectors; the kernels for Hopper.
const LAYERS: [Layer; 3] = [
    Layer { x: [1, 7, 5, 35], c_out: 33, stride: 2, hopper: None },
    Layer { x: [2, 5, 7, 16], c_out: 24, stride: 1, hopper: None },
    Layer {
        x: [1, 8, 16, 64],
        c_out: 64,
        stride: 1,
        hopper: Some(&["conv2d_fwd_sm90_64x128_pair", "conv2d_bwd_dx_sm90_64x128_pair"]),
    },
];

impl Layer {
    fn shape(&self) -> Conv2dShape {
        let [n, h, w, c_in] = self.x;
        let (stride, pad) = (self.stride, 1);
        let padded = Conv2dShape {
            pad_top: pad,
            pad_left: pad,
            pad_bottom: pad,
            pad_right: pad,
            ..Conv2dShape::linear(n, c_in, self.c_out)
        };
        Conv2dShape { h, w, kh: 3, kw: 3, stride, ..padded }
    }

    fn conv(&self, tape: &mut Tape, x: &[Tensor]) -> Tensor {
        conv2d(tape, x[0], x[1], x[2], self.stride, Padding::same(1))
    }

    fn conv_add(&self, tape: &mut Tape, x: &[Tensor]) -> Tensor {
        conv2d_add(tape, x[0], x[1], x[2], self.stride, Padding::same(1), x[3])
    }

    /// x, weights, bias, residual.
    fn inputs(&self) -> [Input; 4] {
        let s = self.shape();
        [
            Input::activation(&self.x),
            Input::weight(&[s.c_out, 3, 3, s.c_in]).scaled((9.0 * s.c_in as f32).powf(-0.5)),
            Input::parameter(&[s.c_out]),
            Input::activation(&[s.n, s.out_h(), s.out_w(), s.c_out]),
        ]
    }

    fn check(&self) -> Check {
        Check { hopper_kernels: self.hopper, samples: 3, ..Check::default() }
    }
}

#[test]
fn a_residual_matches_the_oracle() {
    for layer in few(LAYERS) {
        let result = |x: &[Vec<f64>]| {
            let y = oracle(&layer.shape(), &x[0], &x[1], &x[2]);
            y.iter().zip(&x[3]).map(|(y, residual)| y + residual).collect()
        };
        layer.check().run(&layer.inputs(), |tape, x| layer.conv_add(tape, x), result);
    }
}

fn assert_same_bits(fused: &[Outcome], apart: &[Outcome]) {
    assert_eq!(fused.len(), apart.len());
    for (fused, apart) in fused.iter().zip(apart) {
        assert_eq!((&fused.result, &fused.gradients), (&apart.result, &apart.gradients), "on {}", fused.name);
    }
}

#[test]
fn a_residual_is_added_as_by_an_op_of_its_own() {
    for layer in few(LAYERS) {
        let fused = layer.check().outcomes(&layer.inputs(), |tape, x| layer.conv_add(tape, x));
        let apart = layer.check().outcomes(&layer.inputs(), |tape, x| {
            let y = layer.conv(tape, x);
            add(tape, y, x[3])
        });
        assert_same_bits(&fused, &apart);
    }
    let inputs = [&[2, 5, 33][..], &[9, 33], &[9], &[2, 5, 9]];
    let inputs = [Input::activation, Input::weight, Input::parameter, Input::activation].iter().zip(inputs);
    let inputs: Vec<Input> = inputs.map(|(input, dims)| input(dims)).collect();
    let fused = Check::default().outcomes(&inputs, |tape, x| linear_add(tape, x[0], x[1], x[2], x[3]));
    let apart = Check::default().outcomes(&inputs, |tape, x| {
        let y = linear(tape, x[0], x[1], x[2]);
        add(tape, y, x[3])
    });
    assert_same_bits(&fused, &apart);
}

/// Where the residual is the input itself, the gradient of the result has reached it before that of the convolution.
#[test]
fn gradients_are_added_up_as_by_an_op_of_their_own() {
    let [odd, whole, hopper] = LAYERS;
    let odd = Layer { x: [1, 7, 5, 33], stride: 1, ..odd };
    for layer in few([odd, Layer { c_out: 16, ..whole }, hopper]) {
        let inputs = layer.inputs();
        let apart = layer.check().outcomes(&inputs, |tape, x| layer.conv_add(tape, x));
        let fused = layer.check().outcomes(&inputs[..3], |tape, x| {
            let y = layer.conv_add(tape, &[x, &[x[0]]].concat());
            assert_eq!(y.dims(), x[0].dims());
            y
        });
        for (fused, apart) in fused.iter().zip(&apart) {
            let [x, residual] = [0, 3].map(|i| apart.gradients[i].as_ref().unwrap());
            let round = |sum: f32| if apart.dtype == DType::Bf16 { bf16::from_f32(sum).to_f32() } else { sum };
            let sums: Vec<f32> = x.iter().zip(residual).map(|(x, residual)| round(x + residual)).collect();
            assert_eq!(fused.gradients[0].as_ref(), Some(&sums), "on {}", fused.name);
        }
    }
}

/// A sum that no op makes.
#[test]
fn no_launch_adds_what_convolutions_add() {
    let layer = &LAYERS[1];
    let mut tape = Tape::new(crate::engine::tape::Backend::Cpu, DType::F32);
    let mut store = crate::engine::tensor::Store::new();
    let x = store.tensor(&[2, 5, 7, 16], DType::F32);
    let w = store.tensor(&[16, 3, 3, 16], DType::F32);
    tape.watch(x);
    let conv = |tape: &mut Tape, x, residual| layer.conv_add(tape, &[x, w, Tensor::EMPTY, residual]);
    let h = conv(&mut tape, x, Tensor::EMPTY);
    let y = conv(&mut tape, h, x);
    tape.seed_grad(y, x);
    tape.backward();
    let names: Vec<_> = tape.nodes().iter().map(|node| node.name()).collect();
    assert_eq!(names, ["conv2d_fwd", "conv2d_fwd", "conv2d_bwd_dx", "conv2d_bwd_dx"]);
}
