//! One reverse diffusion step, for any linear prediction target and any sampler whose step is linear in z, in the current
//! and the previous estimate of x_0 and in the network's output (ancestral, DDIM, DPM-Solver++, Langevin):
//!
//! ```text
//! out = w_class out_class + w_none out_none + shift                   where guided, else the network's output itself
//! x_0 = clip(p_z z + p_out out, -limit, limit)
//! z'  = m_z z + m_x x_0 + m_previous x_0' + m_out out + rho xi,       xi ~ N(0, I), x_0' the step's before
//! ```
//! Where the network also predicts the variance, v beside each mean, rho is multiplied by exp(1/2 ln variance) with
//! `ln variance = f log_max + (1 - f) log_min`, `f = (v + 1) / 2` (Nichol and Dhariwal 2021, eq. 15).

use crate::engine::device::Memory;
use crate::engine::ops::records::SamplerRecord;
use crate::engine::random::{Philox, Stream};
use crate::engine::simd;
use crate::engine::tape::geometry::{image_len, images};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use bytemuck::{cast_slice, from_bytes};
use rayon::prelude::*;

/// The noise of a reverse step.
pub const STEP_NOISE: Stream = Stream::new(3);

/// The fresh noise of the samples that take a step together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepNoise {
    /// Each sample has its own.
    #[default]
    OfEach,
    /// All samples have that of the first, so that they differ by where they start alone.
    Shared,
}

/// Records one step. `z` is replaced by z' and `x0`, the estimate of the clean sample in the step before, by this step's;
/// `input`, the network's next input, gets z' in the storage type. `input` may be [`Tensor::EMPTY`].
///
/// # Shapes
/// `z`, `x0 [n, h, w, c]` f32; `out [m, h, w, k]`, the network's output, in the storage type, and `input [m, h, w, c]`.
/// `m = n`, or `2 n` where guided: the images with their labels first, then the same without. `k = c`, or `2 c` where
/// the network predicts the variance: means first. `shift [n, h, w, c]` f32, the guidance of a classifier, is added to the
/// output, and [`Tensor::EMPTY`] where nothing is. `coefficients [LEN]` f32, a [`SamplerRecord`], which changes from step
/// to step without recording anew. `rng` a tensor of [`RngState::words`](crate::engine::random::RngState::words), whose
/// first image is the number of the first sample.
pub fn sampler_step(
    tape: &mut Tape,
    [z, input, x0]: [Tensor; 3],
    [out, shift]: [Tensor; 2],
    coefficients: Tensor,
    rng: Tensor,
    noise: StepNoise,
) {
    let ([n, h, w, c], [m, out_h, out_w, k]) = (four(z), four(out));
    assert!(
        z.dtype() == DType::F32
            && z.dims() == x0.dims()
            && coefficients.dims() == [SamplerRecord::LEN]
            && [h, w] == [out_h, out_w],
        "step of {z:?} and {x0:?} by {out:?}"
    );
    assert!((m == n || m == 2 * n) && (k == c || k == 2 * c), "the network's output {out:?} for {z:?}");
    assert!(input.is_empty() || four(input) == [m, h, w, c], "the network's input {input:?} for {z:?}");
    assert!(shift.is_empty() || shift.dims() == z.dims() && shift.dtype() == DType::F32, "shift {shift:?} of {z:?}");
    tape.push(SamplerStep { z, input, x0, out, shift, coefficients, rng, shared: noise == StepNoise::Shared });
}

fn four(t: Tensor) -> [usize; 4] {
    t.dims().try_into().expect("images have four dimensions")
}

op! {
    struct SamplerStep = "sampler_step" {
        inout z,          // [n, h, w, c] f32
        out input,        // [m, h, w, c]; may be absent
        inout x0,         // [n, h, w, c] f32
        in out,           // [m, h, w, k]
        in shift,         // [n, h, w, c] f32; may be absent
        in coefficients,  // [SamplerRecord::LEN] f32
        in rng,           // [4]
        shared: bool,
    }
}

impl SamplerStep {
    fn is_guided(&self) -> bool {
        self.out.dim(0) == 2 * self.z.dim(0)
    }
    fn is_learned(&self) -> bool {
        self.out.dim(3) == 2 * self.z.dim(3)
    }
}

impl Op for SamplerStep {
    fn cpu(&self, mem: &mut Memory) {
        let (n, c) = (self.z.dim(0), self.z.dim(3));
        let (d, d_out) = (image_len(self.z), image_len(self.out));
        let ([z, input, x0], [out, shift, coefficients, rng]) =
            mem.views([self.z, self.input, self.x0], [self.out, self.shift, self.coefficients, self.rng]);
        let record: &SamplerRecord = from_bytes(cast_slice(coefficients));
        let philox = Philox::from_view(rng, STEP_NOISE);
        let (with, without) = out.split_at(n * d_out);
        z.par_chunks_mut(d).zip(x0.par_chunks_mut(d)).enumerate().for_each(|(image, (z, x0))| {
            let of_image = |out: &'_ [f32]| image * d_out..(image * d_out + d_out).min(out.len());
            let unconditional = if without.is_empty() { without } else { &without[of_image(without)] };
            let shift = if shift.is_empty() { shift } else { &shift[image * d..][..d] };
            let out = NetworkOutput { with: &with[of_image(with)], without: unconditional, shift, channels: c };
            step_cpu(z, x0, out, *record, philox, if self.shared { 0 } else { image as u32 });
        });
        input.chunks_exact_mut(z.len()).for_each(|half| half.copy_from_slice(z));
    }
    fn launch(&self, q: &mut Launches) {
        let (grid, d) = (images(self.z, 4), image_len(self.z));
        q.kernel_of(self, self.out.dtype())
            .grid(grid)
            .with([d, self.z.dim(3)])
            .with([self.is_guided(), self.is_learned(), self.shared].map(usize::from))
            .with([STEP_NOISE.id()]);
    }
}

/// The network's output for one image.
#[derive(Clone, Copy)]
struct NetworkOutput<'a> {
    /// `[h, w, c or 2 c]`
    with: &'a [f32],
    /// The same without the label; empty where not guided.
    without: &'a [f32],
    /// `[h, w, c]`, added to the prediction; may be empty.
    shift: &'a [f32],
    channels: usize,
}

impl NetworkOutput<'_> {
    /// Writes elements `first..` of the output to `pred` and, where the variance is learned, v to `v`.
    fn read(&self, pred: &mut [f32], v: Option<&mut [f32]>, weights: [f32; 2], first: usize) {
        self.read_network(pred, v, weights, first);
        if let Some(shift) = self.shift.get(first..) {
            pred.iter_mut().zip(shift).for_each(|(pred, shift)| *pred += shift);
        }
    }

    fn read_network(&self, pred: &mut [f32], v: Option<&mut [f32]>, weights: [f32; 2], first: usize) {
        let Some(v) = v else {
            pred.copy_from_slice(&self.with[first..][..pred.len()]);
            if !self.without.is_empty() {
                guide(pred, &self.without[first..][..pred.len()], weights);
            }
            return;
        };
        let c = self.channels;
        let place = |e: usize| e / c * 2 * c + e % c;
        for (k, (pred, v)) in pred.iter_mut().zip(v).enumerate() {
            let at = place(first + k);
            (*pred, *v) = (self.with[at], self.with[at + c]);
            if !self.without.is_empty() {
                guide(std::slice::from_mut(pred), &self.without[at..][..1], weights);
            }
        }
    }
}

/// Classifier-free guidance: away from the prediction without the label.
fn guide(pred: &mut [f32], without: &[f32], [w_class, w_none]: [f32; 2]) {
    for (pred, without) in pred.iter_mut().zip(without) {
        *pred = w_class * *pred + w_none * without;
    }
}

/// One image.
fn step_cpu(z: &mut [f32], x0: &mut [f32], out: NetworkOutput, by: SamplerRecord, philox: Philox, image: u32) {
    let SamplerRecord { p_z, p_out, limit, m_z, m_x, m_previous, m_out, rho, .. } = by;
    let SamplerRecord { log_min, log_max, w_class, w_none, .. } = by;
    let is_learned = out.with.len() == 2 * z.len();
    simd::vectorized!(|| {
        let (mut pred, mut v, mut xi) = ([0.0; 64], [0.0; 64], [0.0; 64]);
        for (block, (z, x0)) in z.chunks_mut(64).zip(x0.chunks_mut(64)).enumerate() {
            let (pred, v, xi) = (&mut pred[..z.len()], &mut v[..z.len()], &mut xi[..z.len()]);
            out.read(pred, is_learned.then_some(&mut *v), [w_class, w_none], 64 * block);
            if rho != 0.0 {
                philox.fill_normal(image, 64 * block, xi);
                for (xi, v) in xi.iter_mut().zip(&*v) {
                    let f = 0.5 * (v + 1.0);
                    let deviation = if is_learned { simd::exp(0.5 * (f * log_max + (1.0 - f) * log_min)) } else { 1.0 };
                    *xi *= rho * deviation;
                }
            }
            for (((z, x0), out), xi) in z.iter_mut().zip(x0).zip(&*pred).zip(&*xi) {
                let clean = p_z * *z + p_out * out;
                // Comparisons, not min and max: those would turn a NaN into a plausible pixel.
                let clean = if clean > limit { limit } else { clean };
                let clean = if clean < -limit { -limit } else { clean };
                let previous = if m_previous == 0.0 { 0.0 } else { m_previous * *x0 };
                *z = m_z * *z + m_x * clean + previous + m_out * out + xi;
                *x0 = clean;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::add::sum_into;
    use crate::engine::ops::check::{Check, Input};
    use crate::engine::random::RngState;

    const STATE: RngState = RngState { seed: 0x0012_3456_0078_9abc, step: 12, first_image: 3 };

    /// The kinds of a step.
    #[derive(Clone, Copy, Default)]
    struct Kind {
        guided: bool,
        learned: bool,
        shifted: bool,
        noise: StepNoise,
    }

    fn check(dims: [usize; 4], c12: [f32; 12], guided: bool, learned: bool) {
        check_kind(dims, c12, Kind { guided, learned, ..Kind::default() });
    }

    /// Compares z (0), the next input (1) and x_0 (2) after a step with the equations in float64.
    fn check_kind([n, h, w, c]: [usize; 4], c12: [f32; 12], kind: Kind) {
        let Kind { guided, learned, shifted, noise } = kind;
        let (dims, d) = ([n, h, w, c], h * w * c);
        let (m, k) = (if guided { 2 * n } else { n }, if learned { 2 * c } else { c });
        let mut xi = vec![0.0; n * d];
        let philox = Philox::new(STATE, STEP_NOISE);
        let noise_of = |image: usize| if noise == StepNoise::Shared { 0 } else { image as u32 };
        xi.chunks_mut(d).enumerate().for_each(|(image, xi)| philox.fill_normal(noise_of(image), 0, xi));
        for output in 0..3 {
            let wave = |frequency: f32| (0..n * d).map(|i| (i as f32 * frequency).sin()).collect();
            let inputs = [
                Input::constant(&dims, wave(0.7)),
                Input::constant(&dims, vec![0.0; n * d]),
                Input::activation(&[m, h, w, k]).detached(),
                Input::constant(&[12], c12.to_vec()),
                Input::labels(&STATE.words()),
                Input::constant(&dims, wave(0.3)),
                Input::constant(&dims, wave(1.9)),
            ];
            let build = |tape: &mut Tape, x: &[Tensor]| {
                let [z, x0] = [0; 2].map(|_| tape.tensor(&dims, DType::F32));
                let input = tape.tensor(&[m, h, w, c], tape.dtype());
                sum_into(tape, z, x[0], x[1]);
                sum_into(tape, x0, x[5], x[1]);
                let shift = if shifted { x[6] } else { Tensor::EMPTY };
                sampler_step(tape, [z, input, x0], [x[2], shift], x[3], x[4], noise);
                [z, input, x0][output]
            };
            Check::default().run(&inputs, build, |x| {
                let [p_z, p_out, limit, m_z, m_x, m_previous, m_out, rho, log_min, log_max, w_class, w_none] =
                    std::array::from_fn(|i| c12[i] as f64);
                let step = |i: usize| {
                    let at = i / c * k + i % c;
                    let without = if guided { x[2][n * d / c * k + at] } else { 0.0 };
                    let out = if guided { w_class * x[2][at] + w_none * without } else { x[2][at] };
                    let out = if shifted { out + x[6][i] } else { out };
                    let f = if learned { 0.5 * (x[2][at + c] + 1.0) } else { 0.0 };
                    let log_variance = if learned { f * log_max + (1.0 - f) * log_min } else { 0.0 };
                    let x0 = (p_z * x[0][i] + p_out * out).clamp(-limit, limit);
                    let noise = rho * (0.5 * log_variance).exp() * xi[i] as f64;
                    let previous = if m_previous == 0.0 { 0.0 } else { m_previous * x[5][i] };
                    if output == 2 { x0 } else { m_z * x[0][i] + m_x * x0 + previous + m_out * out + noise }
                };
                let one: Vec<f64> = (0..n * d).map(step).collect();
                if output == 1 && guided { one.repeat(2) } else { one }
            });
        }
    }

    #[test]
    fn matches_the_oracle() {
        let unread = f32::NAN;
        let deterministic = [0.5, -1.25, f32::INFINITY, 0.7, 0.2, -0.3, 0.1, 0.0, 0.0, 0.0, unread, unread];
        let ancestral = [1.25, -0.75, 1.0, 0.3, 0.6, 0.0, -0.2, 0.4, 0.0, 0.0, unread, unread];
        check([1, 5, 7, 3], ancestral, false, false);
        check([3, 5, 5, 1], deterministic, false, false);
        check([3, 33, 13, 3], [1.25, -0.75, 0.5, 0.3, 0.6, 0.0, 0.0, 1.5, 0.0, 0.0, unread, unread], false, false);
    }

    #[test]
    fn guidance_reads_both_halves() {
        let guided = [1.25, -0.75, 1.0, 0.3, 0.6, 0.1, -0.2, 0.4, 0.0, 0.0, 6.0, -5.0];
        check([3, 5, 7, 3], guided, true, false);
        check([2, 4, 4, 4], guided, true, false);
    }

    #[test]
    fn samples_may_share_their_noise() {
        let ancestral = [1.25, -0.75, 1.0, 0.3, 0.6, 0.0, -0.2, 0.4, 0.0, 0.0, 1.0, 0.0];
        let shared = Kind { noise: StepNoise::Shared, ..Kind::default() };
        check_kind([3, 5, 7, 3], ancestral, shared);
        check_kind([2, 4, 4, 4], ancestral, Kind { guided: true, ..shared });
    }

    /// The guidance of a classifier, beside every other choice; an image of 195 values ends within a block and a quad.
    #[test]
    fn a_shift_is_added_to_the_output_however_it_came_about() {
        let by = [1.25, -0.75, 0.9, 0.3, 0.6, 0.1, -0.2, 0.7, -5.0, -0.5, 2.0, -1.0];
        let shifted = Kind { shifted: true, ..Kind::default() };
        check_kind([2, 5, 13, 3], by, shifted);
        check_kind([3, 5, 7, 3], by, Kind { guided: true, ..shifted });
        check_kind([2, 5, 7, 3], by, Kind { learned: true, ..shifted });
        check_kind([3, 4, 4, 1], by, Kind { guided: true, learned: true, ..shifted });
    }

    #[test]
    fn the_network_may_predict_the_variance() {
        let learned = [1.25, -0.75, 1.0, 0.3, 0.6, 0.0, -0.2, 1.0, -5.0, -0.5, 2.0, -1.0];
        check([3, 5, 7, 3], learned, false, true);
        check([1, 5, 7, 1], learned, true, true);
    }
}
