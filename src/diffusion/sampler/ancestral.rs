//! Ancestral sampling (Ho et al. 2020, algorithm 2): the mean of `q(z_s | z_t, x_0)` plus noise.
//!
//! The noise has that posterior's own variance (`beta_tilde`, "fixed small"), the forward process's (`beta`, "fixed
//! large"), or one between them that was learned.

use super::route::Route;
use super::step::{SamplerStep, Update};
use crate::diffusion::posterior::Posterior;
use crate::diffusion::process::Process;
use crate::diffusion::variance::Variance;
use crate::{Error, Result};

/// A step for every point of the route.
///
/// # Errors
/// A learned variance in continuous time.
pub(super) fn steps(route: &Route, variance: Variance) -> Result<Vec<SamplerStep>> {
    if variance == Variance::Learned && matches!(route.process, Process::Continuous { .. }) {
        return Err(Error::Config(
            "learned variance: it lies between two variances of a discrete schedule; in continuous time, choose \
             fixed-small or fixed-large"
                .into(),
        ));
    }
    let step = |k: usize| {
        let [t, s] = route.levels(k);
        let posterior = Posterior::new(t, s);
        let rho = match variance {
            Variance::FixedSmall => posterior.variance.sqrt(),
            Variance::FixedLarge => posterior.forward_variance.sqrt(),
            Variance::Learned => 1.0,
        };
        let log_variance = (variance == Variance::Learned).then(|| {
            let before = k.checked_sub(1).map(|j| route.levels(j)).map(|[t, s]| Posterior::new(t, s));
            [posterior.clipped_variance(before.as_ref()).ln(), posterior.forward_variance.ln()]
        });
        route.step(k, Update { m_z: posterior.z, m_x: posterior.x0, rho, log_variance, ..Update::default() })
    };
    Ok((0..route.len()).map(step).collect())
}
