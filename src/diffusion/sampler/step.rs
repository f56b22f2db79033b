//! One step of any sampler as a row of coefficients.

use crate::diffusion::variance::log_variance;

/// Coefficients of one step: see [`sampler`](crate::diffusion::sampler).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerStep {
    /// Time input of the network.
    pub time: f64,
    /// Weight of `z` in the estimate of `x_0`.
    pub p_z: f64,
    /// Weight of the network's output in the estimate of `x_0`.
    pub p_out: f64,
    /// Change of the network's output per change of the score: that of a classifier's guidance
    /// ([`guidance`](crate::diffusion::guidance)).
    pub out_per_score: f64,
    /// Bound of `|x_0|`; infinite when nothing is clipped.
    pub clip: f64,
    /// Weight of `z` in the new `z`.
    pub m_z: f64,
    /// Weight of the clipped `x_0` in the new `z`.
    pub m_x: f64,
    /// Weight of the clipped `x_0` of the step before; 0 in the first step.
    pub m_previous: f64,
    /// Weight of the network's output in the new `z`.
    pub m_out: f64,
    /// Scale of the fresh noise, where the variance is learned 1; 0 in the last step.
    pub rho: f64,
    /// `ln beta_tilde` and `ln beta` where the variance is learned. The step that ends at clean data has the
    /// `beta_tilde` of the one before it, its own being 0.
    pub log_variance: Option<[f64; 2]>,
}

/// Coefficients of the new `z`: the part of a [`SamplerStep`] in which samplers differ.
#[derive(Default)]
pub(super) struct Update {
    pub m_z: f64,
    pub m_x: f64,
    pub m_previous: f64,
    pub m_out: f64,
    pub rho: f64,
    pub log_variance: Option<[f64; 2]>,
}

impl SamplerStep {
    /// The clipped estimate of `x_0` for one value.
    pub fn x0(&self, z: f64, out: f64) -> f64 {
        (self.p_z * z + self.p_out * out).clamp(-self.clip, self.clip)
    }

    /// `e`, the factor of the noise for the network's second output `v`; 1 where the variance is not learned.
    pub fn deviation(&self, v: f64) -> f64 {
        self.log_variance.map_or(1.0, |range| (0.5 * log_variance(range, v)).exp())
    }

    /// The step itself for one value, as the kernel computes it, in `f64`. `previous` is the [`SamplerStep::x0`] of the
    /// step before, `xi` the fresh noise, times [`SamplerStep::deviation`] where the variance is learned.
    pub fn apply(&self, z: f64, out: f64, previous: f64, xi: f64) -> f64 {
        let x0 = self.x0(z, out);
        self.m_z * z + self.m_x * x0 + self.m_previous * previous + self.m_out * out + self.rho * xi
    }
}
