//! The loss of a network that also predicts the variance of a step back, v beside each mean (Nichol and Dhariwal 2021, eq.
//! 15-16; Ambilduke et al., algorithm 1).
//!
//! ```text
//! loss_i    = w_i sum over d of (mean - target)^2 + w_vb_i sum over d of bits
//! ln rho^2  = f log_max + (1 - f) log_min,  f = (v + 1) / 2;      e = share (x - p_z z - p_out mean)
//! bits      = 1/2 (ln rho^2 - log_min + exp(log_min - ln rho^2) + e^2 / rho^2 - 1) / ln 2           KL(q || p), t >= 2
//! bits      = -log2 (Phi((e + 1/255) / rho) - Phi((e - 1/255) / rho)), open at the ends of [-1, 1]  decoder, t = 1
//! ```
//! The mean that enters `bits` is not differentiated through: the bound trains v alone, the squared error the mean.

use crate::engine::device::Memory;
use crate::engine::ops::noise_loss::Loss;
use crate::engine::ops::records::HybridLossRecord;
use crate::engine::tape::geometry::image_len;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use bytemuck::cast_slice;
use rayon::prelude::*;

/// Operands of the loss.
#[derive(Clone, Copy, Debug)]
pub struct HybridLoss {
    /// The network's output `[n, h, w, 2 c]`, means, then v, in the storage type.
    pub pred: Tensor,
    /// Target of the means `[n, h, w, c]` f32.
    pub target: Tensor,
    /// The network's input `[n, h, w, c]`, in the storage type.
    pub z: Tensor,
    /// The clean images `[n, h, w, c]` f32, on the 256-level grid of [-1, 1].
    pub x: Tensor,
    /// A [`HybridLossRecord`] for each image `[n, LEN]` f32.
    pub coefficients: Tensor,
}

/// Records the loss. If the prediction has a gradient, it starts here: [`Tape::backward`] may follow.
pub fn hybrid_loss(tape: &mut Tape, of: HybridLoss) -> Loss {
    let HybridLoss { pred, target, z, x, coefficients } = of;
    let [n, h, w, c] = z.dims()[..] else { panic!("images have four dimensions, not {z:?}") };
    assert!(pred.dims() == [n, h, w, 2 * c] && z.dtype() == pred.dtype(), "mean and variance {pred:?} of {z:?}");
    assert!([target, x].iter().all(|t| t.dims() == z.dims() && t.dtype() == DType::F32), "{target:?} and {x:?}");
    assert!(
        coefficients.dims() == [n, HybridLossRecord::LEN] && coefficients.dtype() == DType::F32,
        "{coefficients:?}"
    );
    let per_image = tape.tensor(&[n], DType::F32);
    let total = tape.tensor(&[1], DType::F32);
    let dpred = tape.tensor(&pred.dims(), pred.dtype());
    let counter = tape.counters(1);
    tape.push(HybridLossFwd { per_image, total, dpred, counter, pred, target, z, x, coefficients });
    if tape.needs_grad(pred) {
        tape.seed_grad(pred, dpred);
    }
    Loss { per_image, total, dpred }
}

op! {
    struct HybridLossFwd = "hybrid_loss_fwd" {
        out per_image,    // [n] f32
        out total,        // [1] f32
        out dpred,        // [n, h, w, 2 c]
        inout counter,    // [1]
        in pred,          // [n, h, w, 2 c]
        in target,        // [n, h, w, c] f32
        in z,             // [n, h, w, c]
        in x,             // [n, h, w, c] f32
        in coefficients,  // [n, HybridLossRecord::LEN] f32
    }
}

impl Op for HybridLossFwd {
    fn cpu(&self, mem: &mut Memory) {
        let (c, d) = (self.z.dim(3), image_len(self.z));
        let ([per_image, total, dpred], [pred, target, z, x, coefficients]) = mem.views(
            [self.per_image, self.total, self.dpred],
            [self.pred, self.target, self.z, self.x, self.coefficients],
        );
        let outs = per_image.par_iter_mut().zip(dpred.par_chunks_mut(2 * d));
        let ins = pred.par_chunks(2 * d).zip(target.par_chunks(d)).zip(z.par_chunks(d)).zip(x.par_chunks(d));
        let ins = ins.zip(cast_slice::<f32, HybridLossRecord>(coefficients));
        outs.zip(ins).for_each(|((loss, dpred), ((((pred, target), z), x), coefficients))| {
            *loss = image_cpu(dpred, pred, [target, z, x], coefficients, c);
        });
        total[0] = per_image.iter().sum();
    }
    fn launch(&self, q: &mut Launches) {
        let (n, c) = (self.z.dim(0), self.z.dim(3));
        q.kernel_of(self, self.pred.dtype()).grid([n, 1, 1]).with([image_len(self.z), c]);
    }
}

/// One image: writes the gradient, returns the loss.
fn image_cpu(
    dpred: &mut [f32],
    pred: &[f32],
    [target, z, x]: [&[f32]; 3],
    coefficients: &HybridLossRecord,
    c: usize,
) -> f32 {
    let HybridLossRecord { w, w_vb, p_z, p_out, share, log_min, log_max, decodes } = *coefficients;
    let range = log_max - log_min;
    let (mut squared, mut bits) = (0.0, 0.0);
    let pixels = dpred.chunks_exact_mut(2 * c).zip(pred.chunks_exact(2 * c));
    for (pixel, (dpred, pred)) in pixels.enumerate() {
        for channel in 0..c {
            let (i, mean) = (pixel * c + channel, pred[channel]);
            let error = mean - target[i];
            let e = share * (x[i] - p_z * z[i] - p_out * mean);
            let log_variance = log_min + 0.5 * (pred[c + channel] + 1.0) * range;
            let [value, slope] =
                if decodes == 0.0 { kl_bits(e, log_variance, log_min) } else { decoder_bits(e, x[i], log_variance) };
            squared += error * error;
            bits += value;
            dpred[channel] = 2.0 * w * error;
            dpred[c + channel] = 0.5 * w_vb * range * slope;
        }
    }
    w * squared + w_vb * bits
}

/// KL divergence in bits, and its derivative with respect to ln rho^2.
fn kl_bits(e: f32, log_variance: f32, log_min: f32) -> [f32; 2] {
    let (ratio, error) = ((log_min - log_variance).exp(), e * e * (-log_variance).exp());
    let half_bit = 0.5 * std::f32::consts::LOG2_E;
    [half_bit * (log_variance - log_min + ratio + error - 1.0), half_bit * (1.0 - ratio - error)]
}

/// Bits of the discretised decoder, at most -log2 1e-12, and their derivative with respect to ln rho^2.
fn decoder_bits(e: f32, x: f32, log_variance: f32) -> [f32; 2] {
    use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};
    let inverse = (-0.5 * log_variance).exp();
    let (upper, lower) = ((e + 1.0 / 255.0) * inverse, (e - 1.0 / 255.0) * inverse);
    let (top, bottom) = (x > 0.999, x < -0.999);
    // Of two nearly equal probabilities near 1, the complements are subtracted.
    let sign = if lower > 0.0 { 1.0 } else { -1.0 };
    let tail = |u: f32| libm::erfcf(sign * u * FRAC_1_SQRT_2);
    let tail_upper = if top { 1.0 - sign } else { tail(upper) };
    let tail_lower = if bottom { 1.0 + sign } else { tail(lower) };
    let p = 0.5 * sign * (tail_lower - tail_upper);
    if p <= 1e-12 {
        return [39.863_137, 0.0];
    }
    let density = |u: f32| u * (-0.5 * u * u).exp();
    let density_upper = if top { 0.0 } else { density(upper) };
    let density_lower = if bottom { 0.0 } else { density(lower) };
    let dp = -0.5 * 0.398_942_3 * (density_upper - density_lower);
    [-LOG2_E * p.ln(), -LOG2_E * dp / p]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::learned_variance::{VarianceStep, learned_variance_term};
    use crate::engine::ops::check::{Check, Input};

    const C: [[f32; 8]; 3] = [
        [0.02, 0.5, 1.1, -0.4, 0.3, -7.0, -6.2, 0.0],
        [0.01, 0.25, 1.01, -0.05, 1.0, -6.5, -5.0, 1.0],
        [0.05, 2.0, 1.5, -0.9, 0.05, -5.5, -5.4, 0.0],
    ];

    /// The bits of one value and their derivative with respect to v, in float64.
    fn bits(c: &[f64], x: f64, z: f64, mean: f64, v: f64) -> (f64, f64) {
        let &[_, _, p_z, p_out, share, log_min, log_max, decodes] = c else { unreachable!() };
        let step = VarianceStep { log_variance: [log_min, log_max], c_2: share, first: decodes != 0.0 };
        learned_variance_term(&step, x, p_z * z + p_out * mean, v)
    }

    /// Input of a test: clean images on the grid, both ends among them, and predictions near them.
    fn inputs([n, h, w, c]: [usize; 4]) -> [Input; 5] {
        let d = n * h * w * c;
        let x: Vec<f32> =
            (0..d).map(|i| ((i * 37) % 256).min(if i % 5 == 0 { 0 } else { 255 }) as f32 / 127.5 - 1.0).collect();
        let wave = |frequency: f32| (0..d).map(move |i| (i as f32 * frequency).sin());
        let z: Vec<f32> = x.iter().zip(wave(0.3)).map(|(x, noise)| x + 0.02 * noise).collect();
        [
            Input::activation(&[n, h, w, 2 * c]).detached(),
            Input::constant(&[n, h, w, c], wave(0.7).collect()),
            Input::stored(&[n, h, w, c], z),
            Input::constant(&[n, h, w, c], x),
            Input::constant(&[n, 8], (0..n).flat_map(|i| C[i % 3]).collect()),
        ]
    }

    fn of(x: &[Tensor]) -> HybridLoss {
        let &[pred, target, z, x, coefficients] = x else { unreachable!() };
        HybridLoss { pred, target, z, x, coefficients }
    }

    #[test]
    fn loss_is_the_formula() {
        for dims @ [n, h, w, c] in [[1, 5, 7, 1], [3, 5, 5, 3], [2, 16, 16, 2]] {
            let d = h * w * c;
            Check::default().run(
                &inputs(dims),
                |tape, x| hybrid_loss(tape, of(x)).total,
                |x| {
                    let value = |i: usize| {
                        let (coefficients, at) = (&x[4][8 * (i / d)..][..8], i / c * 2 * c + i % c);
                        let squared = (x[0][at] - x[1][i]).powi(2);
                        let (bits, _) = bits(coefficients, x[3][i], x[2][i], x[0][at], x[0][at + c]);
                        coefficients[0] * squared + coefficients[1] * bits
                    };
                    vec![(0..n * d).map(value).sum()]
                },
            );
        }
    }

    #[test]
    fn the_gradient_stops_at_the_mean_of_the_bound() {
        for dims @ [n, h, w, c] in [[1, 5, 7, 1], [3, 5, 5, 3]] {
            let d = h * w * c;
            Check::default().run(
                &inputs(dims),
                |tape, x| hybrid_loss(tape, of(x)).dpred,
                |x| {
                    let slope = |k: usize| {
                        let (pixel, channel) = (k / (2 * c), k % (2 * c));
                        let i = pixel * c + channel % c;
                        let (coefficients, at) = (&x[4][8 * (i / d)..][..8], pixel * 2 * c + channel % c);
                        if channel < c {
                            return 2.0 * coefficients[0] * (x[0][at] - x[1][i]);
                        }
                        coefficients[1] * bits(coefficients, x[3][i], x[2][i], x[0][at], x[0][k]).1
                    };
                    (0..2 * n * d).map(slope).collect()
                },
            );
        }
    }
}
