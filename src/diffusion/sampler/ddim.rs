//! DDIM (Song et al. 2021, eq. 12): `a_s x_0 + sqrt(sigma_s^2 - rho^2) eps + rho xi` with `rho = eta
//! sqrt(beta_tilde)`, deterministic for `eta = 0`.
//!
//! `eps` comes from the output itself, also where `x_0` was clipped.

use super::route::Route;
use super::step::{SamplerStep, Update};
use crate::diffusion::posterior::Posterior;
use crate::{Error, Result};

/// A step for every point of the route.
///
/// # Errors
/// `eta` outside `[0, 1]`.
pub(super) fn steps(route: &Route, eta: f64) -> Result<Vec<SamplerStep>> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::Config(format!("eta: wanted a value from 0 (deterministic) to 1 (ancestral), not {eta}")));
    }
    let step = |k: usize| {
        let [t, s] = route.levels(k);
        let eps = route.target.eps(&route.point(k).at);
        let rho = eta * Posterior::new(t, s).variance.sqrt();
        let direction = (s.sigma * s.sigma - rho * rho).max(0.0).sqrt();
        route.step(k, Update { m_z: direction * eps.z, m_x: s.a, m_out: direction * eps.out, rho, ..Update::default() })
    };
    Ok((0..route.len()).map(step).collect())
}
