//! Few output channels.

use super::*;
use crate::engine::device::Capability;
use crate::engine::ops::add::add;
use crate::engine::ops::conv2d::few::takes;

const SHAPES: [([usize; 4], usize); 5] =
    [([2, 17, 18, 64], 3), ([1, 2060, 1, 32], 1), ([1, 5, 7, 32], 8), ([3, 4, 33, 96], 8), ([1, 32, 3, 32], 2)];

fn shape([n, h, w, c_in]: [usize; 4], c_out: usize) -> Conv2dShape {
    let shape = Conv2dShape { h, w, kh: 3, kw: 3, ..Conv2dShape::linear(n, c_in, c_out) };
    Conv2dShape { pad_top: 1, pad_left: 1, pad_bottom: 1, pad_right: 1, ..shape }
}

fn inputs(x: [usize; 4], c_out: usize) -> [Input; 3] {
    let scale = 1.0 / ((9 * x[3]) as f32).sqrt();
    let weights = Input::weight(&[c_out, 3, 3, x[3]]).scaled(scale);
    [Input::activation(&x), weights, Input::parameter(&[c_out])]
}

#[test]
fn few_channels_match_the_oracle() {
    for (x, c_out) in few(SHAPES) {
        assert!(takes(&shape(x, c_out), DType::Bf16));
        Check { samples: 12, ..Check::default() }.run(
            &inputs(x, c_out),
            |tape, t| conv2d(tape, t[0], t[1], t[2], 1, Padding::same(1)),
            |t| oracle(&shape(x, c_out), &t[0], &t[1], &t[2]),
        );
    }
}

#[test]
fn a_residual_of_few_channels_is_added_as_by_an_op_of_its_own() {
    let (x, c_out) = SHAPES[0];
    let residual = Input::activation(&[x[0], x[1], x[2], c_out]);
    let inputs = [&inputs(x, c_out)[..], &[residual]].concat();
    let fused =
        Check::default().outcomes(&inputs, |tape, t| conv2d_add(tape, t[0], t[1], t[2], 1, Padding::same(1), t[3]));
    let apart = Check::default().outcomes(&inputs, |tape, t| {
        let y = conv2d(tape, t[0], t[1], t[2], 1, Padding::same(1));
        add(tape, y, t[3])
    });
    for (fused, apart) in fused.iter().zip(&apart) {
        assert_eq!(fused.result, apart.result, "{}", fused.name);
    }
}

/// Which kernels run: in bf16 on every GPU, and for nothing else.
#[test]
fn the_domain_is_what_the_kernels_compute() {
    let s = shape([1, 8, 8, 64], 3);
    assert!(takes(&s, DType::Bf16) && !takes(&s, DType::F32));
    let others = [
        Conv2dShape { c_out: 9, ..s },
        Conv2dShape { c_in: 48, ..s },
        Conv2dShape { stride: 2, ..s },
        Conv2dShape { pad_left: 0, ..s },
        Conv2dShape { kh: 1, ..s },
    ];
    assert!(others.iter().all(|s| !takes(s, DType::Bf16)));
    for capability in [Capability::Ampere, Capability::Hopper] {
        let mut store = crate::engine::tensor::Store::new();
        let [x, w, dy] = [[1, 8, 8, 64], [3, 3, 3, 64], [1, 8, 8, 3]].map(|dims| store.tensor(&dims, DType::Bf16));
        let dw = store.tensor(&w.dims(), DType::F32);
        let mut tape = Tape::new(crate::engine::tape::Backend::Gpu(capability), DType::Bf16);
        tape.parameter(w, dw);
        let y = conv2d(&mut tape, x, w, Tensor::EMPTY, 1, Padding::same(1));
        tape.seed_grad(y, dy);
        tape.backward();
        let kernels: Vec<String> = tape.work().into_iter().map(|work| work.launch.unwrap().kernel).collect();
        assert_eq!(kernels, ["conv2d_fwd_few", "conv2d_bwd_dw_few"]);
    }
}
