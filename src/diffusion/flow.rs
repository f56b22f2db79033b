//! The likelihood of a model by its probability flow (Song et al. 2021, section 4.3 and eq. 39).
//!
//! Along the flow every `z_t` has the distribution that the model's samples have at that time, so the density of data
//! follows from that of the noise at its end. In the variables `u = z / r` with `r^2 = a^2 + sigma^2`, which stay of the size
//! of the data, and `tau = ln s` with `s = sigma / a` for time, and with the network's estimate `eps`,
//!
//! ```text
//! du/dtau = (sigma / r) (eps(z) - sigma z / r^2)          the flow; a sigma v where variance is preserved
//! d ln p(u) / dtau = - div (du/dtau)                      the density along it
//! ln p(y) = ln N(u_1; 0, I) + int div dtau - d ln (r_0 / a_0)
//! ```
//!
//! from the least noise to the most, over the range of times that the process keeps to. What is measured is the density of
//! `y = z / a` at the least noise, taken at the data, of `d` dimensions each. The integral is Heun's: of second order, two
//! evaluations a step. A divergence is the trace of a Jacobian: exactly `sum_i e_i' J e_i` over the unit vectors, or estimated
//! by `v' J v` with random signs `v` (Hutchinson), the same along the whole flow (Grathwohl et al. 2019).

use super::level::NoiseLevel;
use super::prediction::{Estimate, PredictionTarget};
use super::process::Process;
use crate::Result;
use std::f64::consts::{LN_2, TAU};

/// A place on the flow.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The time of the process.
    pub time: f64,
    /// Its noise level.
    pub level: NoiseLevel,
    /// The noise that an output of the network implies.
    eps: Estimate,
}

impl Node {
    fn new(process: &Process, target: PredictionTarget, time: f64) -> Node {
        let at = process.point(time);
        Node { time, level: at.level, eps: target.eps(&at) }
    }

    /// The factor of `u` in `z`.
    pub fn norm(&self) -> f64 {
        self.level.norm()
    }

    /// `du / dtau` for one value of `z` and the network's output.
    pub fn slope(&self, z: f64, out: f64) -> f64 {
        let (sigma, r) = (self.level.sigma, self.norm());
        sigma / r * (self.eps.apply(z, out) - sigma * z / (r * r))
    }

    /// The divergence of the slope over `dims` values, from the trace of the network's own Jacobian with respect to `z`.
    pub fn divergence(&self, dims: usize, trace: f64) -> f64 {
        let (sigma, r) = (self.level.sigma, self.norm());
        sigma * (self.eps.z * dims as f64 + self.eps.out * trace) - dims as f64 * (sigma / r).powi(2)
    }
}

/// The slopes of samples `[n, dims]` at a node, and the divergence of each.
pub struct Slopes {
    /// `[n, dims]`
    pub du: Vec<f64>,
    /// `[n]`
    pub divergence: Vec<f64>,
}

/// The nodes of a flow from the least noise to the most, in at most `steps` steps of equal length in `ln s`. A table has its
/// own levels alone: those nearest, so that there may be fewer.
///
/// # Errors
/// A target that the process does not allow.
pub fn nodes(process: &Process, target: PredictionTarget, steps: usize) -> Result<Vec<Node>> {
    target.validate(process)?;
    let node = |time: f64| Node::new(process, target, time);
    let place = |node: &Node| node.level.noise_ratio().ln();
    match process {
        Process::Continuous { schedule, t_min, t_max } => {
            let [first, last] = [*t_min, *t_max].map(|t| place(&node(t)));
            let time = |k: usize| match k {
                0 => *t_min,
                k if k == steps => *t_max,
                k => schedule.time_of_noise((first + (last - first) * k as f64 / steps as f64).exp()),
            };
            Ok((0..=steps).map(|k| node(time(k))).collect())
        }
        Process::Discrete(schedule) => {
            let mut all: Vec<Node> = (1..=schedule.steps()).map(|t| node(t as f64)).collect();
            // A level without any signal has no place on the axis.
            all.retain(|node| node.level.a > 0.0);
            let [first, last] = [&all[0], &all[all.len() - 1]].map(place);
            let mut kept: Vec<usize> = (0..=steps)
                .map(|k| {
                    let wanted = first + (last - first) * k as f64 / steps as f64;
                    let above = all.partition_point(|node| place(node) < wanted).min(all.len() - 1);
                    let nearer = above > 0 && wanted - place(&all[above - 1]) < place(&all[above]) - wanted;
                    if nearer { above - 1 } else { above }
                })
                .collect();
            kept.dedup();
            Ok(kept.into_iter().map(|k| all[k]).collect())
        }
    }
}

/// `ln p` of samples `x [n, dims]`, in nats each, along these nodes, of which there are at least one. `slopes` evaluates the
/// network at a node and at `u [n, dims]` there.
///
/// # Errors
/// Those of `slopes`.
pub fn log_likelihood(
    nodes: &[Node],
    x: &[f64],
    dims: usize,
    mut slopes: impl FnMut(&Node, &[f64]) -> Result<Slopes>,
) -> Result<Vec<f64>> {
    let first = nodes[0].level;
    let spread = first.norm() / first.a;
    let mut u: Vec<f64> = x.iter().map(|x| x / spread).collect();
    let mut integral = vec![0.0; x.len() / dims];
    for pair in nodes.windows(2) {
        let step = (pair[1].level.noise_ratio() / pair[0].level.noise_ratio()).ln();
        let start = slopes(&pair[0], &u)?;
        let reached: Vec<f64> = u.iter().zip(&start.du).map(|(u, du)| u + step * du).collect();
        let end = slopes(&pair[1], &reached)?;
        for ((u, start), end) in u.iter_mut().zip(&start.du).zip(&end.du) {
            *u += 0.5 * step * (start + end);
        }
        for ((sum, start), end) in integral.iter_mut().zip(&start.divergence).zip(&end.divergence) {
            *sum += 0.5 * step * (start + end);
        }
    }
    let normal = |u: &[f64]| -0.5 * u.iter().map(|u| u * u).sum::<f64>() - 0.5 * dims as f64 * TAU.ln();
    let constant = dims as f64 * spread.ln();
    Ok(u.chunks_exact(dims).zip(integral).map(|(u, integral)| normal(u) + integral - constant).collect())
}

/// Width of the cell of one of 256 levels in [-1, 1].
const CELL: f64 = 2.0 / 255.0;

/// The change of the level that a uniform number in (0, 1) makes: it spreads levels over their cells, so that they have a
/// density (Theis et al. 2016).
pub fn dequantise(u: f64) -> f64 {
    CELL * (u - 0.5)
}

/// Bits per dimension of an image of 256 levels from the log density at a place in its cells, in nats: on average no less than
/// the bits of the levels themselves.
pub fn level_bits(log_density: f64, dims: usize) -> f64 {
    -(log_density / dims as f64 + CELL.ln()) / LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::Mixture;
    use crate::diffusion::{Continuous, Schedule};

    fn continuous(schedule: Continuous) -> Process {
        Process::continuous(schedule, 0.001, 0.999).unwrap()
    }

    /// Log likelihood of pairs of values, both of one mixture, by the best network; its trace by differences.
    fn likelihood(process: &Process, target: PredictionTarget, data: &Mixture, steps: usize) -> Vec<f64> {
        let nodes = nodes(process, target, steps).unwrap();
        let found = log_likelihood(&nodes, &PAIRS, 2, |node, u| {
            let at = process.point(node.time);
            let out = |z: f64| data.output(target, z, &at);
            let z: Vec<f64> = u.iter().map(|u| node.norm() * u).collect();
            let trace = |z: &[f64]| z.iter().map(|z| (out(z + 1e-5) - out(z - 1e-5)) / 2e-5).sum::<f64>();
            Ok(Slopes {
                du: z.iter().map(|&z| node.slope(z, out(z))).collect(),
                divergence: z.chunks_exact(2).map(|z| node.divergence(2, trace(z))).collect(),
            })
        });
        found.unwrap()
    }

    /// `ln p` of a pair of a mixture `(weight, mean, deviation)` whose components have been spread by `s`.
    fn exact(parts: &[(f64, f64, f64)], s: f64, pair: &[f64]) -> f64 {
        let density = |y: f64| -> f64 {
            let of = |&(w, m, d): &(f64, f64, f64)| {
                let v = d * d + s * s;
                w * (-0.5 * (y - m).powi(2) / v).exp() / (TAU * v).sqrt()
            };
            parts.iter().map(of).sum()
        };
        pair.iter().map(|y| density(*y).ln()).sum()
    }

    const PAIRS: [f64; 8] = [0.1, -0.4, 1.2, 0.9, -1.0, 1.0, 0.0, 2.0];

    /// The flow of a centred Gaussian in closed form, with the noise of the end in the place of what is left of the data there:
    /// `u` grows like its deviation, the root of `(c^2 + s^2) / (1 + s^2)`.
    fn flowed(deviation: f64, [first, last]: [f64; 2], pair: &[f64]) -> f64 {
        let spread = |s: f64| ((deviation * deviation + s * s) / (1.0 + s * s)).sqrt();
        let (growth, norm) = (spread(last) / spread(first), (1.0 + first * first).sqrt());
        let of = |x: &f64| -0.5 * (growth * x / norm).powi(2) - 0.5 * TAU.ln() + growth.ln() - norm.ln();
        pair.iter().map(of).sum()
    }

    /// A Gaussian has the likelihood of the formula for every schedule and target, but for the error of the integral, which is
    /// of second order; a standard one has no such error, since the flow stands still.
    #[test]
    fn gaussian_data_have_their_own_likelihood() {
        let processes = [
            continuous(Continuous::VpCosine),
            continuous(Continuous::VpLinear { b0: 0.1, b1: 20.0 }),
            continuous(Continuous::Ve { sigma_min: 0.01, sigma_max: 50.0 }),
            Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap()),
        ];
        for process in &processes {
            for target in
                [PredictionTarget::Epsilon, PredictionTarget::X0, PredictionTarget::V, PredictionTarget::Score]
            {
                let ends = nodes(process, target, 1).unwrap();
                let ends = [&ends[0], &ends[1]].map(|node| node.level.noise_ratio());
                let error = |deviation: f64, steps: usize| {
                    let found = likelihood(process, target, &Mixture::new(&[(1.0, 0.0, deviation)]), steps);
                    let errors = found.iter().zip(PAIRS.chunks(2)).map(|(ln_p, pair)| {
                        let want = flowed(deviation, ends, pair);
                        assert!(
                            (want - exact(&[(1.0, 0.0, deviation)], ends[0], pair)).abs() <= 5e-3,
                            "the end is noise"
                        );
                        (ln_p - want).abs()
                    });
                    errors.fold(0.0, f64::max)
                };
                let [coarse, fine] = [64, 128].map(|steps| error(0.5, steps));
                assert!(fine <= 2e-3 && coarse / fine >= 2.5, "{process:?}, {target:?}: {coarse}, {fine}");
                assert!(error(1.0, 8) <= 1e-4, "{process:?}, {target:?}");
            }
        }
    }

    /// The noise at the end hides what is left of the data, so mixtures have their likelihood too.
    #[test]
    fn mixtures_have_their_own_likelihood() {
        let parts = [(0.3, -0.8, 0.3), (0.7, 0.5, 0.2)];
        for process in [continuous(Continuous::VpCosine), Process::Discrete(Schedule::cosine(1000).unwrap())] {
            let s = nodes(&process, PredictionTarget::V, 1).unwrap()[0].level.noise_ratio();
            let found = likelihood(&process, PredictionTarget::V, &Mixture::new(&parts), 400);
            for (ln_p, pair) in found.iter().zip(PAIRS.chunks(2)) {
                let want = exact(&parts, s, pair);
                assert!((ln_p - want).abs() <= 0.01 * want.abs().max(1.0), "{process:?}, {pair:?}: {ln_p}, not {want}");
            }
        }
    }

    #[test]
    fn a_table_gives_its_own_levels_both_ends_among_them() {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        for steps in [1, 10, 64, 5000] {
            let nodes = nodes(&process, PredictionTarget::Epsilon, steps).unwrap();
            assert!(nodes.len() <= steps + 1 && nodes.len() <= 1000);
            assert_eq!((nodes[0].time, nodes[nodes.len() - 1].time), (1.0, 1000.0));
            assert!(nodes.is_sorted_by(|a, b| a.time < b.time), "{steps}");
        }
        let blind = Process::Discrete(Schedule::linear(100, 1e-4, 0.02).unwrap().with_zero_terminal_snr());
        assert!(nodes(&blind, PredictionTarget::Epsilon, 10).is_err());
        assert_eq!(nodes(&blind, PredictionTarget::V, 10).unwrap().last().unwrap().time, 99.0);
    }

    /// A density that is even over a cell gives each of 256 levels its bits: here all levels alike, eight of them.
    #[test]
    fn bits_of_levels_are_those_of_their_cells() {
        let dims = 3;
        let even = -(dims as f64) * (256.0 * CELL).ln();
        assert!((level_bits(even, dims) - 8.0).abs() <= 1e-12);
        assert_eq!([0.0, 0.5, 1.0].map(dequantise), [-1.0 / 255.0, 0.0, 1.0 / 255.0]);
    }
}
