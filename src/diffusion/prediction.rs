//! Prediction targets: the meaning of the network's output, and the conversion between any two.
//!
//! Every target is linear in the image and the noise, and so is the network's input `z`:
//!
//! ```text
//! z   = a x_0 + sigma eps
//! out = c_x x_0 + c_eps eps
//! ```
//!
//! | output | `c_x` | `c_eps` | `det = a c_eps - sigma c_x` |
//! |---|---|---|---|
//! | `x_0` | 1 | 0 | `-sigma` |
//! | `eps` | 0 | 1 | `a` |
//! | `v` | `-sigma / r` | `a / r` | `r` |
//! | score | 0 | `-1 / sigma` | `-a / sigma` |
//! | `mu` | `C_1 a + C_2` | `C_1 sigma` | `-sigma C_2` |
//!
//! with `r^2 = a^2 + sigma^2` (1 for processes that preserve variance) and `mu = C_1 z + C_2 x_0` the mean of
//! `q(z_{t-1} | z_t, x_0)`. Any other row `q` follows from `z` and `out` by Cramer's rule,
//!
//! ```text
//! q = (q_x c_eps - q_eps c_x) / det * z  +  det_q / det * out
//! ```
//!
//! so the table above is the whole definition of a prediction target. The determinants stand in it, rather than
//! being computed, because the one of `mu` would lose two digits to cancellation.

use super::level::NoiseLevel;
use super::posterior::Posterior;
use super::process::{Process, TimePoint};
use crate::{Error, Result};

/// Quantity that the network is trained to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictionTarget {
    /// The clean image.
    X0,
    /// The noise `eps` in `z = a x_0 + sigma eps` (Ho et al. 2020, eq. 14).
    #[default]
    Epsilon,
    /// The velocity `(a eps - sigma x_0) / r` (Salimans and Ho 2022).
    V,
    /// The score of `q(z_t | x_0)`, `-eps / sigma`: values as large as `1 / sigma`.
    Score,
    /// The score, by a network whose output is divided by `-sigma`: the output itself is `eps`, of unit size.
    ScoreScaled,
    /// The mean of `q(z_{t-1} | z_t, x_0)` (Ho et al. 2020, eq. 8); of a table of noise levels only.
    Mu,
}

/// `z * z_t + out * output`, with the output of the network at `z_t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Coefficient of the noisy image `z_t`.
    pub z: f64,
    /// Coefficient of the output of the network.
    pub out: f64,
}

impl Estimate {
    /// The estimate for one value.
    pub fn apply(self, z: f64, out: f64) -> f64 {
        self.z * z + self.out * out
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
struct Row {
    x: f64,
    eps: f64,
    det: f64,
}

impl PredictionTarget {
    fn row(self, at: &TimePoint) -> Row {
        let NoiseLevel { a, sigma } = at.level;
        match self {
            PredictionTarget::X0 => Row { x: 1.0, eps: 0.0, det: -sigma },
            PredictionTarget::Epsilon | PredictionTarget::ScoreScaled => Row { x: 0.0, eps: 1.0, det: a },
            PredictionTarget::V => {
                let r = at.level.norm();
                Row { x: -sigma / r, eps: a / r, det: r }
            }
            PredictionTarget::Score => Row { x: 0.0, eps: -1.0 / sigma, det: -a / sigma },
            PredictionTarget::Mu => {
                let posterior = Posterior::new(at.level, at.before);
                Row { x: posterior.z * a + posterior.x0, eps: posterior.z * sigma, det: -sigma * posterior.x0 }
            }
        }
    }

    /// The quantity `requested`, computed from `z` and an output of this meaning.
    fn estimate(self, requested: PredictionTarget, at: &TimePoint) -> Estimate {
        let (c, q) = (self.row(at), requested.row(at));
        Estimate { z: (q.x * c.eps - q.eps * c.x) / c.det, out: q.det / c.det }
    }

    /// `(c_x, c_eps)` such that the output to learn is `c_x x_0 + c_eps eps`.
    pub fn target(self, at: &TimePoint) -> (f64, f64) {
        let row = self.row(at);
        (row.x, row.eps)
    }

    /// The clean image that the output implies.
    pub fn x0(self, at: &TimePoint) -> Estimate {
        self.estimate(PredictionTarget::X0, at)
    }

    /// The noise that the output implies.
    pub fn eps(self, at: &TimePoint) -> Estimate {
        self.estimate(PredictionTarget::Epsilon, at)
    }

    /// The velocity that the output implies.
    pub fn v(self, at: &TimePoint) -> Estimate {
        self.estimate(PredictionTarget::V, at)
    }

    /// The score that the output implies.
    pub fn score(self, at: &TimePoint) -> Estimate {
        self.estimate(PredictionTarget::Score, at)
    }

    /// Change of the output by which the score that it implies changes by 1: `-sigma` for the noise.
    pub fn out_per_score(self, at: &TimePoint) -> f64 {
        1.0 / self.score(at).out
    }

    /// The mean of the step to the level before that the output implies.
    pub fn mu(self, at: &TimePoint) -> Estimate {
        self.estimate(PredictionTarget::Mu, at)
    }

    /// Squared error, averaged over the values, of a network's output `[h, w, m]` for a sample with image `x` and noise
    /// `eps`, both `[h, w, c]`. Of `m > c` channels the first `c` count: the others are a variance.
    pub fn squared_error(self, at: &TimePoint, [x, eps, out]: [&[f32]; 3], c: usize) -> f64 {
        let (c_x, c_eps) = self.target(at);
        let m = out.len() * c / x.len();
        let error = |i: usize| {
            let out = f64::from(out[i / c * m + i % c]);
            (out - c_x * f64::from(x[i]) - c_eps * f64::from(eps[i])).powi(2)
        };
        (0..x.len()).map(error).sum::<f64>() / x.len() as f64
    }

    /// Squared error of the output per squared error of the image that it implies: SNR for `eps`, `1 / sigma^2` for the
    /// velocity where variance is preserved.
    pub fn error_ratio(self, at: &TimePoint) -> f64 {
        (self.row(at).det / at.level.sigma).powi(2)
    }

    /// Refuses a process under which the image does not follow from the output.
    ///
    /// # Errors
    /// `mu` in continuous time; noise or score where the process ends without any signal.
    pub fn validate(self, process: &Process) -> Result<()> {
        let blind = process.level(process.last_time()).a < 1e-6;
        match self {
            PredictionTarget::Mu if matches!(process, Process::Discrete(_)) => Ok(()),
            PredictionTarget::Mu => Err(Error::Config(
                "prediction target mu: it is the mean of a step of a discrete schedule; in continuous time, choose x0, \
                 epsilon, v or score"
                    .into(),
            )),
            PredictionTarget::Epsilon | PredictionTarget::Score | PredictionTarget::ScoreScaled if blind => {
                Err(Error::Config(match process {
                    Process::Continuous { t_max, .. } => format!(
                        "t_max = {t_max}: no signal is left there, and noise says nothing of the image; choose a \
                         smaller t_max, 0.999 for example, or the target x0 or v"
                    ),
                    Process::Discrete(_) => "the last noise level has no signal left, and noise says nothing of the \
                                             image there; choose the target x0 or v"
                        .into(),
                }))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
