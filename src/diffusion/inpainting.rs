//! Drawing a part of an image by a model of whole images (RePaint, Lugmayr et al. 2022, algorithm 1).
//!
//! The way back is that of a sampler, but after every step the known part is put in place as it is at that noise level,
//! `a x_0 + sigma eps` with fresh noise, so that the rest is drawn to fit. One passage fits badly: what a step has drawn
//! did not know the noise that the known part was given. So `jump` steps are taken back by adding noise,
//!
//! ```text
//! z_t = a_{t|s} z_s + sigma_{t|s} eps        sigma_{t|s}^2 = sigma_t^2 - a_{t|s}^2 sigma_s^2
//! ```
//!
//! and drawn again, `repeats` times in all, at every `jump`-th level. The noise of `jump` single steps of the forward process
//! and that of one long one are the same in distribution, so a jump is one move.

use super::level::NoiseLevel;
use super::plan::SamplePlan;
use super::posterior::Posterior;
use super::process::Process;
use crate::{Error, Result};

/// Repetitions of parts of the way; the default are those of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Steps of the part that is drawn again, at least 1.
    pub jump: usize,
    /// How often each part is drawn, at least 1; 1 draws nothing again.
    pub repeats: usize,
}

impl Default for Resampling {
    fn default() -> Resampling {
        Resampling { jump: 10, repeats: 10 }
    }
}

/// A move between two places of the way; place `k` is before step `k` of the plan, the last is clean data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Step `k` of the plan, from place `k` to the next, where the known part is put in place.
    Back(usize),
    /// Noise is added, from a place to an earlier one.
    Forth {
        /// The place with less noise.
        from: usize,
        /// The place with more.
        to: usize,
    },
}

/// A way from noise to images that goes over parts of it again.
#[derive(Clone, Debug)]
pub struct Walk {
    moves: Vec<Move>,
    levels: Vec<NoiseLevel>,
}

impl Walk {
    /// The way along the steps of a plan, of which each must need its own evaluation alone.
    ///
    /// # Errors
    /// A multistep method, or one with noise levels of its own; no steps in a jump, or no repeats.
    pub fn new(plan: &SamplePlan, process: &Process, resampling: Resampling) -> Result<Walk> {
        let descends = plan.times.is_sorted_by(|t, s| t > s);
        if !descends || plan.steps.iter().any(|step| step.m_previous != 0.0) {
            return Err(Error::Config(
                "a step is drawn again from where it began, which a sampler of several evaluations does not allow: choose the \
                 sampler ddpm or ddim"
                    .into(),
            ));
        }
        let Resampling { jump, repeats } = resampling;
        if jump == 0 || repeats == 0 {
            return Err(Error::Config(format!(
                "resampling: wanted a jump of at least 1 step and at least 1 repeat, not {jump} and {repeats}"
            )));
        }
        let levels = plan.times.iter().map(|&t| process.level(t)).chain([NoiseLevel::CLEAN]).collect();
        Ok(Walk { moves: moves(plan.steps.len(), resampling), levels })
    }

    /// The moves in their order.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Steps of the plan that are taken, each an evaluation of the network.
    pub fn evaluations(&self) -> usize {
        self.moves.iter().filter(|step| matches!(step, Move::Back(_))).count()
    }

    /// Signal and noise of the known part at a place.
    pub fn level(&self, place: usize) -> NoiseLevel {
        self.levels[place]
    }

    /// Factor of `z` and scale of the fresh noise on the way forth.
    pub fn forth(&self, from: usize, to: usize) -> NoiseLevel {
        let (noisy, clean) = (self.levels[to], self.levels[from]);
        NoiseLevel { a: noisy.a / clean.a, sigma: Posterior::new(noisy, clean).forward_variance.max(0.0).sqrt() }
    }
}

/// The moves over so many steps, as the schedule of the paper's code (`get_schedule_jump`) has them: every `jump`-th level,
/// from that of the last step on, is returned from `repeats - 1` times.
fn moves(steps: usize, Resampling { jump, repeats }: Resampling) -> Vec<Move> {
    let mut left: Vec<usize> = (0..=steps)
        .map(|place| {
            let index = steps.wrapping_sub(place + 1);
            if place < steps && index.is_multiple_of(jump) && index + jump < steps { repeats - 1 } else { 0 }
        })
        .collect();
    let (mut place, mut moves) = (0, Vec::new());
    while place < steps {
        moves.push(Move::Back(place));
        place += 1;
        if left[place] > 0 {
            left[place] -= 1;
            moves.push(Move::Forth { from: place, to: place - jump });
            place -= jump;
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::mixture::{Mixture, standard_normal};
    use crate::diffusion::{PredictionTarget, Sampler, Schedule, Variance, rng};
    use std::f64::consts::FRAC_1_SQRT_2;

    fn process() -> Process {
        Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap())
    }

    fn plan(sampler: Sampler, steps: usize) -> SamplePlan {
        SamplePlan::new(sampler, &process(), PredictionTarget::Epsilon, steps, None, None).unwrap()
    }

    /// `get_schedule_jump(t_T=6, n_sample=1, jump_length=2, jump_n_sample=2)` of the paper's code visits these indices: an
    /// index is the number of steps that are left, less one.
    #[test]
    fn the_moves_are_those_of_the_paper_s_code() {
        let visited = |steps: usize, resampling| -> Vec<i64> {
            let place = |to: usize| steps as i64 - 1 - to as i64;
            let to = |step: &Move| match *step {
                Move::Back(k) => vec![place(k + 1)],
                Move::Forth { from, to } => (to..from).rev().map(place).collect(),
            };
            [place(0)].into_iter().chain(moves(steps, resampling).iter().flat_map(to)).collect()
        };
        let twice = visited(6, Resampling { jump: 2, repeats: 2 });
        assert_eq!(twice, [5, 4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1]);
        assert_eq!(visited(4, Resampling { jump: 10, repeats: 10 }), [3, 2, 1, 0, -1]);
        assert_eq!(visited(3, Resampling { jump: 1, repeats: 1 }), [2, 1, 0, -1]);
        // Of the paper's 250 steps: 24 places that are returned from, each nine times over ten steps.
        let paper = moves(250, Resampling::default());
        let back = paper.iter().filter(|step| matches!(step, Move::Back(_))).count();
        assert_eq!(back, 250 + 24 * 9 * 10);
    }

    #[test]
    fn going_forth_leads_to_the_distribution_of_the_level() {
        let walk = Walk::new(&plan(Sampler::default(), 50), &process(), Resampling::default()).unwrap();
        for (from, to) in [(49, 39), (10, 0), (50, 40)] {
            let (clean, noisy, by) = (walk.level(from), walk.level(to), walk.forth(from, to));
            assert!((by.a * clean.a - noisy.a).abs() <= 1e-12);
            assert!((by.a.powi(2) * clean.sigma.powi(2) + by.sigma.powi(2) - noisy.sigma.powi(2)).abs() <= 1e-12);
        }
    }

    /// Walks of pairs `(x_1, x_2)`, of which the first is known, with the best network of data whose sum and difference over
    /// the root of 2 are independent: the drawn values.
    fn drawn(data: [&Mixture; 2], known: f64, steps: usize, resampling: Resampling, n: usize) -> Vec<f64> {
        let (process, target) = (process(), PredictionTarget::Epsilon);
        let plan = plan(Sampler::Ancestral { variance: Variance::FixedSmall }, steps);
        let walk = Walk::new(&plan, &process, resampling).unwrap();
        let mut rng = rng(11);
        let mut z = standard_normal(2 * n, &mut rng);
        let turn = |[x, y]: [f64; 2]| [FRAC_1_SQRT_2 * (x + y), FRAC_1_SQRT_2 * (x - y)];
        for step in walk.moves() {
            let noise = standard_normal(2 * n, &mut rng);
            match *step {
                Move::Back(k) => {
                    let (step, at, level) = (plan.steps[k], process.point(plan.times[k]), walk.level(k + 1));
                    let fresh = standard_normal(n, &mut rng);
                    for ((z, xi), fresh) in z.chunks_exact_mut(2).zip(noise.chunks_exact(2)).zip(fresh) {
                        let turned = turn([z[0], z[1]]);
                        let out = turn([0, 1].map(|i| data[i].output(target, turned[i], &at)));
                        z[1] = step.apply(z[1], out[1], 0.0, xi[1]);
                        z[0] = level.a * known + level.sigma * fresh;
                    }
                }
                Move::Forth { from, to } => {
                    let NoiseLevel { a, sigma } = walk.forth(from, to);
                    z.iter_mut().zip(noise).for_each(|(z, xi)| *z = a * *z + sigma * xi);
                }
            }
        }
        assert!(z.chunks_exact(2).all(|z| z[0] == known), "the known part is there in the end");
        z.chunks_exact(2).map(|z| z[1]).collect()
    }

    fn moments(x: &[f64]) -> [f64; 2] {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        [mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt()]
    }

    /// The pair is Gaussian with variance 0.545 and covariance 0.455, so given `x_1 = 0.8` the other has mean 0.6679 and
    /// deviation 0.4064. The moments of the walk itself were propagated step by step outside of this program.
    #[test]
    fn repeats_bring_what_is_drawn_to_the_conditional_distribution() {
        let data = [Mixture::new(&[(1.0, 0.0, 1.0)]), Mixture::new(&[(1.0, 0.0, 0.3)])];
        let n = 2000;
        let check = |steps, resampling, [mean, deviation]: [f64; 2]| {
            let got = moments(&drawn([&data[0], &data[1]], 0.8, steps, resampling, n));
            // Four standard errors.
            let error = 4.0 * deviation / (n as f64).sqrt();
            assert!((got[0] - mean).abs() <= error && (got[1] - deviation).abs() <= error, "{resampling:?}: {got:?}");
            got
        };
        let once = check(50, Resampling { jump: 5, repeats: 1 }, [0.4103, 0.4488]);
        let repeated = check(250, Resampling::default(), [0.639, 0.3893]);
        assert!((once[0] - 0.6679).abs() >= 0.2, "{once:?}");
        assert!((repeated[0] - 0.6679).abs() <= 0.06 && (repeated[1] - 0.4064).abs() <= 0.04, "{repeated:?}");
    }

    /// Two clusters at `±(0.71, 0.71)` of deviation 0.3: given `x_1 = 0.1` the other value is of the upper one with probability
    /// 0.828. The shares of the walk itself, 0.59 once and 0.76 with repeats, were simulated outside of this program: repeats
    /// come near, in the paper's numbers not all the way.
    #[test]
    fn repeats_choose_the_cluster_that_fits_the_known_part() {
        let data = [Mixture::new(&[(0.5, -1.0, 0.3), (0.5, 1.0, 0.3)]), Mixture::new(&[(1.0, 0.0, 0.3)])];
        let upper = |repeats: usize| {
            let resampling = Resampling { repeats, ..Resampling::default() };
            let drawn = drawn([&data[0], &data[1]], 0.1, 250, resampling, 2000);
            drawn.iter().filter(|x| **x > 0.0).count() as f64 / drawn.len() as f64
        };
        let [once, repeated] = [1, 10].map(upper);
        assert!((once - 0.59).abs() <= 0.05 && (repeated - 0.76).abs() <= 0.07, "{once}, {repeated}");
    }

    #[test]
    fn samplers_that_remember_cannot_be_repeated() {
        for sampler in [Sampler::DpmSolver, Sampler::Heun, Sampler::Langevin(crate::diffusion::Langevin::default())] {
            let error = Walk::new(&plan(sampler, 20), &process(), Resampling::default()).unwrap_err();
            assert!(error.to_string().contains("ddpm or ddim"), "{error}");
        }
        for resampling in [Resampling { jump: 0, repeats: 1 }, Resampling { jump: 1, repeats: 0 }] {
            Walk::new(&plan(Sampler::default(), 20), &process(), resampling).unwrap_err();
        }
    }
}
