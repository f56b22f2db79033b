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

/// The coefficients of one step. They lie in a tensor of eight floats, so that one recorded step replays for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCoefficients {
    /// Of z in the estimate of x_0.
    pub p_z: f32,
    /// Of the network's output in the estimate of x_0.
    pub p_out: f32,
    /// The estimate of x_0 is clipped to +-limit; infinite: not clipped.
    pub limit: f32,
    /// Of z in z'.
    pub m_z: f32,
    /// Of x_0 in z'.
    pub m_x: f32,
    /// Of the network's output in z'.
    pub m_out: f32,
    /// Of the noise in z'; 0 draws none.
    pub rho: f32,
}

impl StepCoefficients {
    /// The tensor's contents.
    pub fn values(self) -> [f32; 8] {
        [self.p_z, self.p_out, self.limit, self.m_z, self.m_x, self.m_out, self.rho, 0.0]
    }

    fn from_view(c: &[f32]) -> StepCoefficients {
        StepCoefficients { p_z: c[0], p_out: c[1], limit: c[2], m_z: c[3], m_x: c[4], m_out: c[5], rho: c[6] }
    }
}

/// Records one step. `z` is replaced by z'; `input`, the network's next input, gets z' in the storage type, and
/// `x0` the estimate of the clean sample; either may be [`Tensor::EMPTY`].
///
/// # Shapes
/// `z`, `x0 [n, h, w, c]` f32; `input` and `out` (what the network said of z) like them in the storage type;
/// `coefficients [8]` f32 of [`StepCoefficients::values`]; `rng` a tensor of
/// [`RngState::words`](super::philox::RngState), whose first image is the first sample's number.
pub fn sampler_step(
    tape: &mut Tape,
    [z, input, x0]: [Tensor; 3],
    out: Tensor,
    coefficients: Tensor,
    rng: Tensor,
) {
    assert!(z.dtype() == DType::F32 && z.dims() == out.dims() && coefficients.dims() == [8], "step of {z:?} by {out:?}");
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
        let c = StepCoefficients::from_view(coefficients);
        z.par_chunks_mut(d).zip(out.par_chunks(d)).enumerate().for_each(|(image, (z, out))| {
            step_cpu(z, None, out, c, philox, image as u32);
        });
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
