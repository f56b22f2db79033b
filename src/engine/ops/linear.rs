//! Linear layers: `y = x w^T + bias` over the last dimension.
//!
//! A row of `x` is an image of one pixel and the layer a 1x1 convolution, so the kernels, the CPU implementation and
//! the gradients are those of [`conv2d`](crate::engine::ops::conv2d).

use crate::engine::ops::conv2d::{Conv2dFwd, Conv2dShape, Layer, Names};
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;

const LINEAR: Names =
    Names { fwd: "linear_fwd", bwd_dx: "linear_bwd_dx", bwd_dw: "linear_bwd_dw", bwd_dbias: "linear_bwd_dbias" };

/// Linear map of the last dimension, with an optional bias.
///
/// # Shapes
/// `x [.., c_in]`, `w [c_out, c_in]` of the same type, `bias [c_out]` in f32 or absent; the result is `[.., c_out]`.
/// Saved for backward: `x`.
pub fn linear(tape: &mut Tape, x: Tensor, w: Tensor, bias: Tensor) -> Tensor {
    linear_add(tape, x, w, bias, Tensor::EMPTY)
}

/// `linear(x, w) + residual`, in one launch.
///
/// # Shapes
/// The same as [`linear`]; `residual` as the result, of the same type, or absent. Its gradient is that of the result, shared.
pub fn linear_add(tape: &mut Tape, x: Tensor, w: Tensor, bias: Tensor, residual: Tensor) -> Tensor {
    assert!(w.rank() == 2 && x.last_dim() == w.dim(1), "linear of {x:?} with weights {w:?}");
    let (c_out, c_in) = (w.dim(0), w.dim(1));
    let mut dims = x.dims();
    *dims.last_mut().expect("a tensor has dimensions") = c_out;
    let y = tape.tensor(&dims, x.dtype());
    let shape = Conv2dShape::linear(x.numel() / c_in, c_in, c_out);
    let layer = Layer::new(shape, &LINEAR).on(tape, x.dtype());
    Conv2dFwd { y, x: x.into(), w, bias, residual, layer }.record(tape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input, few};

    #[test]
    fn matches_the_oracle() {
        for (dims, c_out) in few([(vec![3, 33], 35), (vec![2, 5, 64], 72), (vec![1, 1], 1), (vec![1, 5, 7, 3], 8)]) {
            let (c_in, rows) = (*dims.last().unwrap(), dims[..dims.len() - 1].iter().product::<usize>());
            let inputs = [Input::activation(&dims), Input::weight(&[c_out, c_in]), Input::parameter(&[c_out])];
            Check::default().run(
                &inputs,
                |tape, x| linear(tape, x[0], x[1], x[2]),
                |x| {
                    (0..rows * c_out)
                        .map(|i| {
                            let (row, o) = (i / c_out, i % c_out);
                            let product = |c| x[0][row * c_in + c] * x[1][o * c_in + c];
                            x[2][o] + (0..c_in).map(product).sum::<f64>()
                        })
                        .collect()
                },
            );
        }
    }

    #[test]
    fn large_layers_run_on_hopper_kernels() {
        let kernels = &["conv2d_fwd_sm90_64x128_pair", "conv2d_bwd_dx_sm90_64x128_pair", "conv2d_bwd_dw_sm90_any_64"];
        let (rows, c_in, c_out) = (128, 128, 64);
        let weights = Input::weight(&[c_out, c_in]).scaled(0.1);
        Check { samples: 3, ..Check::default() }.hopper(kernels).run(
            &[Input::activation(&[rows, c_in]), weights],
            |tape, x| linear(tape, x[0], x[1], Tensor::EMPTY),
            |x| {
                let row = |i| &x[0][i / c_out * c_in..][..c_in];
                let products = |i: usize| row(i).iter().zip(&x[1][i % c_out * c_in..]).map(|(x, w)| x * w);
                (0..rows * c_out).map(|i| products(i).sum()).collect()
            },
        );
    }

    #[test]
    fn needs_no_bias() {
        let inputs = [Input::activation(&[5, 3]), Input::weight(&[4, 3])];
        Check::default().run(
            &inputs,
            |tape, x| linear(tape, x[0], x[1], Tensor::EMPTY),
            |x| (0..20).map(|i| (0..3).map(|c| x[0][i / 4 * 3 + c] * x[1][i % 4 * 3 + c]).sum()).collect(),
        );
    }
}
