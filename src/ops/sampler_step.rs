//! One reverse diffusion step, for any linear prediction target and any sampler whose step is linear in z, x_0 and the
//! network's output (ancestral, DDIM, Langevin):
//!
//! ```text
//! x_0 = clip(p_z z + p_out out, -limit, limit)
//! z'  = m_z z + m_x x_0 + m_out out + rho xi,   xi ~ N(0, I)
//! ```

use crate::device::Memory;
use crate::ops::philox::{Philox, Stream, quad_blocks};
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::{DType, Tensor};
use rayon::prelude::*;

/// Records one step. `z` is replaced by z'; `input`, the network's next input, gets z' in the storage type, and
/// `x0` the estimate of the clean sample. `input` may be [`Tensor::EMPTY`].
///
/// # Shapes
/// `z`, `x0 [n, h, w, c]` f32; `input` and `out` (what the network said of z) like them in the storage type;
/// `coefficients [8]` f32: p_z, p_out, limit, m_z, m_x, m_out, rho and one that is not read, which change from step to
/// step without recording anew; `rng` a tensor of [`RngState::words`](super::philox::RngState), whose first image is
/// the number of the first sample. An infinite limit does not clip; rho = 0 draws no noise.
pub fn sampler_step(tape: &mut Tape, [z, input, x0]: [Tensor; 3], out: Tensor, coefficients: Tensor, rng: Tensor) {
    assert!(
        z.dtype() == DType::F32 && z.dims() == out.dims() && z.dims() == x0.dims() && coefficients.dims() == [8],
        "step of {z:?} and {x0:?} by {out:?}"
    );
    tape.push(SamplerStep { z, input, x0, out, coefficients, rng });
}

#[derive(Debug)]
struct SamplerStep {
    z: Tensor,
    input: Tensor,
    x0: Tensor,
    out: Tensor,
    coefficients: Tensor,
    rng: Tensor,
}

impl Op for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.z, self.input, self.x0]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.z, self.out, self.coefficients, self.rng]
    }
    fn cpu(&self, mem: &mut Memory) {
        let d = self.z.numel() / self.z.dim(0);
        let ([z, input, x0], [out, coefficients, rng]) =
            mem.views([self.z, self.input, self.x0], [self.out, self.coefficients, self.rng]);
        let philox = Philox::from_view(rng, Stream::SampleStep);
        let images = z.par_chunks_mut(d).zip(x0.par_chunks_mut(d)).zip(out.par_chunks(d));
        images.enumerate().for_each(|(image, ((z, x0), out))| {
            step_cpu(z, x0, out, coefficients, philox, image as u32);
        });
        if !input.is_empty() {
            input.copy_from_slice(z);
        }
    }
    fn launch(&self, q: &mut Launches) {
        let (n, d) = (self.z.dim(0), self.z.numel() / self.z.dim(0));
        let outs = [self.z.into(), self.input.into(), self.x0.into()];
        let ins = [self.out.into(), self.coefficients.into(), self.rng.into(), d.into()];
        let scalars = [Stream::SampleStep.id().into()];
        let grid = quad_blocks(n, d);
        q.kernel("sampler_step", self.out.dtype()).grid(grid).args(&[&outs[..], &ins, &scalars].concat());
    }
}

/// One image.
fn step_cpu(z: &mut [f32], x0: &mut [f32], out: &[f32], coefficients: &[f32], philox: Philox, image: u32) {
    let &[p_z, p_out, limit, m_z, m_x, m_out, rho, _] = coefficients else {
        unreachable!("eight coefficients");
    };
    simd::vectorize(
        #[inline(always)]
        || {
            let mut xi = [0.0; 64];
            let blocks = z.chunks_mut(64).zip(x0.chunks_mut(64)).zip(out.chunks(64));
            for (block, ((z, x0), out)) in blocks.enumerate() {
                let xi = &mut xi[..out.len()];
                if rho != 0.0 {
                    philox.fill_normal(image, 64 * block, xi);
                }
                for (((z, x0), out), xi) in z.iter_mut().zip(x0).zip(out).zip(&*xi) {
                    let clean = p_z * *z + p_out * out;
                    // Comparisons, not min and max: those would turn a NaN into a plausible pixel.
                    let clean = if clean > limit { limit } else { clean };
                    *x0 = if clean < -limit { -limit } else { clean };
                    *z = m_z * *z + m_x * *x0 + m_out * out + rho * xi;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::add::sum_into;
    use crate::ops::check::{Check, Input};
    use crate::ops::philox::RngState;

    #[test]
    fn matches_the_oracle() {
        let state = RngState { seed: 0x0012_3456_0078_9abc, step: 12, first_image: 3 };
        let deterministic = [0.5, -1.25, f32::INFINITY, 0.7, 0.2, 0.1, 0.0, 0.0];
        for (dims, c) in [
            ([1, 5, 7, 3], [1.25, -0.75, 1.0, 0.3, 0.6, -0.2, 0.4, f32::NAN]),
            ([3, 5, 5, 1], deterministic),
            ([3, 33, 13, 3], [1.25, -0.75, 0.5, 0.3, 0.6, 0.0, 1.5, 0.0]),
        ] {
            let [n, h, w, channels] = dims;
            let d = h * w * channels;
            let mut xi = vec![0.0; n * d];
            let philox = Philox::new(state, Stream::SampleStep);
            xi.chunks_mut(d).enumerate().for_each(|(image, xi)| philox.fill_normal(image as u32, 0, xi));
            for output in 0..3 {
                let z = (0..n * d).map(|i| (i as f32 * 0.7).sin()).collect();
                let inputs = [
                    Input::constant(&dims, z),
                    Input::constant(&dims, vec![0.0; n * d]),
                    Input::activation(&dims).detached(),
                    Input::constant(&[8], c.to_vec()),
                    Input::labels(&state.words()),
                ];
                let build = |tape: &mut Tape, x: &[Tensor]| {
                    let results = [DType::F32, tape.dtype(), DType::F32].map(|dtype| tape.tensor(&dims, dtype));
                    sum_into(tape, results[0], x[0], x[1]);
                    sampler_step(tape, results, x[2], x[3], x[4]);
                    results[output]
                };
                Check::default().run(&inputs, build, |x| {
                    let [p_z, p_out, limit, m_z, m_x, m_out, rho] = std::array::from_fn(|i| c[i] as f64);
                    let step = |i: usize| {
                        let (z, out) = (x[0][i], x[2][i]);
                        let x0 = (p_z * z + p_out * out).clamp(-limit, limit);
                        if output == 2 { x0 } else { m_z * z + m_x * x0 + m_out * out + rho * xi[i] as f64 }
                    };
                    (0..n * d).map(step).collect()
                });
            }
        }
    }
}
