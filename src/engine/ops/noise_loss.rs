//! The two ends of a training step: input and target of the network, and the loss of its prediction.
//!
//! ```text
//! noise   z = a x + sigma eps,  target = c_x x + c_eps eps,  eps ~ N(0, I)        (q_sample, and any linear target)
//! loss    loss_i = w_i sum over d of (pred - target)^2,  dpred = 2 w_i (pred - target),  total = sum of loss_i
//! ```
//! a, sigma, c_x, c_eps and w are per image, so the schedule, the target (eps, x, v, score) and the loss weight are
//! data. eps is never stored, and the loss and its gradient are one pass.

use crate::engine::device::Memory;
use crate::engine::ops::records::NoiseRecord;
use crate::engine::random::{Philox, Stream};
use crate::engine::simd;
use crate::engine::tape::geometry::{image_len, images};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use bytemuck::cast_slice;
use rayon::prelude::*;

/// The noise eps of training.
pub const NOISE: Stream = Stream::new(1);

/// Adds noise to clean images. Returns the input and the target of the network.
///
/// # Shapes
/// `x [n, h, w, c]` f32; `coefficients [n, LEN]` f32, a [`NoiseRecord`] for each image; `rng` a tensor of
/// [`RngState::words`](crate::engine::random::RngState::words). Results: z like x in the tape's type, the target like x in
/// f32.
pub fn noise(tape: &mut Tape, x: Tensor, coefficients: Tensor, rng: Tensor) -> (Tensor, Tensor) {
    let is_record = coefficients.dims() == [x.dim(0), NoiseRecord::LEN];
    assert!(x.dtype() == DType::F32 && is_record, "{coefficients:?} for images {x:?}");
    let z = tape.tensor(&x.dims(), tape.dtype());
    let target = tape.tensor(&x.dims(), DType::F32);
    tape.push(NoiseFwd { z, target, x, coefficients, rng });
    (z, target)
}

op! {
    struct NoiseFwd = "noise_fwd" {
        out z,            // [n, h, w, c]
        out target,       // [n, h, w, c] f32
        in x,             // [n, h, w, c] f32
        in coefficients,  // [n, NoiseRecord::LEN] f32
        in rng,           // [4]
    }
}

impl Op for NoiseFwd {
    fn cpu(&self, mem: &mut Memory) {
        let d = image_len(self.x);
        let ([z, target], [x, coefficients, rng]) =
            mem.views([self.z, self.target], [self.x, self.coefficients, self.rng]);
        let philox = Philox::from_view(rng, NOISE);
        let outs = z.par_chunks_mut(d).zip(target.par_chunks_mut(d));
        let ins = x.par_chunks(d).zip(cast_slice(coefficients));
        outs.zip(ins).enumerate().for_each(|(image, ((z, target), (x, &c)))| {
            noise_cpu(z, target, x, c, philox, image as u32);
        });
    }
    fn launch(&self, q: &mut Launches) {
        let (grid, d) = (images(self.x, 4), image_len(self.x));
        q.kernel_of(self, self.z.dtype()).grid(grid).with([d]).with([NOISE.id()]);
    }
}

/// One image.
fn noise_cpu(z: &mut [f32], target: &mut [f32], x: &[f32], by: NoiseRecord, philox: Philox, image: u32) {
    let NoiseRecord { a, sigma, c_x, c_eps } = by;
    simd::vectorized!(|| {
        let mut eps = [0.0; 64];
        let blocks = z.chunks_mut(64).zip(target.chunks_mut(64)).zip(x.chunks(64));
        for (block, ((z, target), x)) in blocks.enumerate() {
            let eps = &mut eps[..x.len()];
            philox.fill_normal(image, 64 * block, eps);
            for (((z, target), x), eps) in z.iter_mut().zip(target).zip(x).zip(&*eps) {
                *z = a * x + sigma * eps;
                *target = c_x * x + c_eps * eps;
            }
        }
    });
}

/// Results of [`loss`].
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Weighted squared error of each image `[n]` f32.
    pub per_image: Tensor,
    /// Their sum `[1]` f32.
    pub total: Tensor,
    /// Gradient of the total with respect to the prediction, in the prediction's type.
    pub dpred: Tensor,
}

/// Records the weighted squared error. If `pred` has a gradient, it starts here: [`Tape::backward`] may follow.
///
/// # Shapes
/// `pred [n, h, w, c]` in the storage type, `target` like it in f32, `weight [n]` f32, which holds every constant
/// factor, such as 1 / (n d) for a mean.
pub fn loss(tape: &mut Tape, pred: Tensor, target: Tensor, weight: Tensor) -> Loss {
    assert!(target.dims() == pred.dims() && target.dtype() == DType::F32, "target {target:?} of prediction {pred:?}");
    assert!(weight.dims() == [pred.dim(0)] && weight.dtype() == DType::F32, "weight {weight:?} of {pred:?}");
    let per_image = tape.tensor(&[pred.dim(0)], DType::F32);
    let total = tape.tensor(&[1], DType::F32);
    let dpred = tape.tensor(&pred.dims(), pred.dtype());
    let counter = tape.counters(1);
    tape.push(LossFwd { per_image, total, dpred, counter, pred, target, weight });
    if tape.needs_grad(pred) {
        tape.seed_grad(pred, dpred);
    }
    Loss { per_image, total, dpred }
}

op! {
    struct LossFwd = "loss_fwd" {
        out per_image,  // [n] f32
        out total,      // [1] f32
        out dpred,      // [n, h, w, c]
        inout counter,  // [1]
        in pred,        // [n, h, w, c]
        in target,      // [n, h, w, c] f32
        in weight,      // [n] f32
    }
}

impl Op for LossFwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([per_image, total, dpred], [pred, target, weight]) =
            mem.views([self.per_image, self.total, self.dpred], [self.pred, self.target, self.weight]);
        let d = pred.len() / weight.len();
        let outs = per_image.par_iter_mut().zip(dpred.par_chunks_mut(d));
        let ins = pred.par_chunks(d).zip(target.par_chunks(d)).zip(weight);
        outs.zip(ins).for_each(|((loss, dpred), ((pred, target), &weight))| {
            *loss = loss_cpu(dpred, pred, target, weight);
        });
        total[0] = per_image.iter().sum();
    }
    fn launch(&self, q: &mut Launches) {
        let grid = [self.pred.dim(0), 1, 1];
        q.kernel_of(self, self.pred.dtype()).grid(grid).with([image_len(self.pred)]);
    }
}

/// One image: writes the gradient, returns the loss.
fn loss_cpu(dpred: &mut [f32], pred: &[f32], target: &[f32], weight: f32) -> f32 {
    simd::vectorized!(|| {
        let mut sum = [0.0; 16];
        let ins = pred.chunks(16).zip(target.chunks(16));
        for (dpred, (pred, target)) in dpred.chunks_mut(16).zip(ins) {
            for (((dpred, pred), target), sum) in dpred.iter_mut().zip(pred).zip(target).zip(&mut sum) {
                let error = pred - target;
                *sum += error * error;
                *dpred = 2.0 * weight * error;
            }
        }
        weight * sum.iter().sum::<f32>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input};
    use crate::engine::random::RngState;

    const SHAPES: [[usize; 4]; 4] = [[1, 5, 7, 3], [3, 5, 5, 1], [2, 8, 8, 4], [3, 33, 13, 3]];

    #[test]
    fn noise_is_the_counters() {
        let state = RngState { seed: 0x0012_3456_0078_9abc, step: 9, first_image: 4 };
        for dims @ [n, h, w, c] in SHAPES {
            let d = h * w * c;
            let coefficients: Vec<f32> =
                (0..4 * n).map(|i| [0.8, 0.6, -0.25, 1.5][i % 4] + 0.1 * (i / 4) as f32).collect();
            let mut eps = vec![0.0; n * d];
            let philox = Philox::new(state, NOISE);
            eps.chunks_mut(d).enumerate().for_each(|(image, eps)| philox.fill_normal(image as u32, 0, eps));
            for output in [0, 1] {
                Check::default().run(
                    &[
                        Input::constant(&dims, (0..n * d).map(|i| (i as f32 * 0.7).sin()).collect()),
                        Input::constant(&[n, 4], coefficients.clone()),
                        Input::labels(&state.words()),
                    ],
                    |tape, x| {
                        let (z, target) = noise(tape, x[0], x[1], x[2]);
                        [z, target][output]
                    },
                    |x| {
                        let mix = |i: usize| {
                            let c = &x[1][i / d * 4 + 2 * output..];
                            c[0] * x[0][i] + c[1] * eps[i] as f64
                        };
                        (0..n * d).map(mix).collect()
                    },
                );
            }
        }
    }

    #[test]
    fn loss_and_its_gradient() {
        for dims @ [n, h, w, c] in SHAPES {
            let d = h * w * c;
            let target = Input::constant(&dims, (0..n * d).map(|i| (i as f32 * 0.37).cos()).collect());
            let weight = Input::constant(&[n], (0..n).map(|i| 0.25 + i as f32).collect());
            let inputs = [Input::activation(&dims).detached(), target, weight];
            let per_image = |x: &[Vec<f64>]| -> Vec<f64> {
                let error = |i: usize| (x[0][i] - x[1][i]).powi(2);
                (0..n).map(|i| x[2][i] * (i * d..(i + 1) * d).map(error).sum::<f64>()).collect()
            };
            // The gradient starts in the op itself, so it is checked as a result.
            let evaluate =
                |output: fn(Loss) -> Tensor| move |tape: &mut Tape, x: &[Tensor]| output(loss(tape, x[0], x[1], x[2]));
            let check = Check::default();
            check.run(&inputs, evaluate(|l| l.per_image), per_image);
            check.run(&inputs, evaluate(|l| l.total), |x| vec![per_image(x).iter().sum()]);
            check.run(&inputs, evaluate(|l| l.dpred), |x| {
                (0..n * d).map(|i| 2.0 * x[2][i / d] * (x[0][i] - x[1][i])).collect()
            });
        }
    }
}
