//! Training objective: the coefficients of each image in a step.

use super::config::Config;
use super::random::{hides_label, timestep_word};
use crate::Result;
use crate::diffusion::learned_variance::VarianceStep;
use crate::diffusion::{ImageCoefficients, LossWeighting, PredictionTarget, Process, Reduction};
use crate::engine::ops::records::{HybridLossRecord, NoiseRecord};
use std::ops::Range;

/// The objective of a run.
#[derive(Clone, Debug)]
pub struct Objective {
    process: Process,
    target: PredictionTarget,
    weighting: LossWeighting,
    reduction: Reduction,
    vb_weight: f64,
    label_drop: f64,
    classes: usize,
    /// Images of a batch, and values of an image.
    batch: [usize; 2],
    seed: u64,
}

/// Coefficients of the images of a part of a batch.
#[derive(Clone, Debug, Default)]
pub struct PartCoefficients {
    /// `[n]` time inputs of the network.
    pub time: Vec<f32>,
    /// `[n]` how each image is noised, and its target.
    pub noise: Vec<NoiseRecord>,
    /// `[n]` factor of the squared error, summed over an image's values.
    pub weight: Vec<f32>,
    /// `[n]` coefficients of the hybrid loss; empty unless the variance is learned.
    pub hybrid: Vec<HybridLossRecord>,
}

impl Objective {
    /// The objective of a configuration.
    ///
    /// # Errors
    /// An impossible noise schedule.
    pub fn new(config: &Config) -> Result<Objective> {
        let diffusion = &config.diffusion;
        Ok(Objective {
            process: diffusion.process()?,
            target: diffusion.target,
            weighting: diffusion.loss,
            reduction: diffusion.reduction,
            vb_weight: diffusion.vb_weight,
            label_drop: diffusion.label_drop,
            classes: config.model.classes(),
            batch: [config.train.batch_size, config.model.sample_len()],
            seed: config.train.seed,
        })
    }

    /// Coefficients of images `images` of the batch of `step`; each has a time of its own.
    ///
    /// # Errors
    /// A weighting that the process does not allow.
    pub fn part(&self, step: u32, images: Range<usize>, learns_variance: bool) -> Result<PartCoefficients> {
        let mut part = PartCoefficients::default();
        for image in images {
            let t = self.time(step, image);
            let c = ImageCoefficients::new(&self.process, self.target, self.weighting, t, self.batch, self.reduction)?;
            part.time.push(c.time);
            part.noise.push(NoiseRecord { a: c.a, sigma: c.sigma, c_x: c.c_x, c_eps: c.c_eps });
            part.weight.push(c.weight);
            if learns_variance {
                part.hybrid.push(self.hybrid(t, c.weight));
            }
        }
        Ok(part)
    }

    /// The time of an image of the batch of `step`.
    fn time(&self, step: u32, image: usize) -> f64 {
        self.process.time(timestep_word(self.seed, step, image as u32))
    }

    /// Coefficients of the hybrid loss at `t` (Nichol and Dhariwal 2021, eq. 15-16).
    fn hybrid(&self, t: f64, w: f32) -> HybridLossRecord {
        let Process::Discrete(schedule) = &self.process else { unreachable!("refused with the configuration") };
        let VarianceStep { log_variance: [log_min, log_max], c_2, first } = VarianceStep::new(schedule, t as usize);
        let x0 = self.target.x0(&self.process.point(t));
        let [images, values] = self.batch.map(|n| n as f64);
        HybridLossRecord {
            w,
            w_vb: (self.vb_weight / (images * values)) as f32,
            p_z: x0.z as f32,
            p_out: x0.out as f32,
            share: c_2 as f32,
            log_min: log_min as f32,
            log_max: log_max as f32,
            decodes: f32::from(u8::from(first)),
        }
    }

    /// The loss of one sample at `t`, averaged over its values, from the sample `x`, its noise `eps`, both `[h, w, c]`, and
    /// the network's output `[h, w, out_channels]`. A learned variance does not count.
    ///
    /// # Errors
    /// A weighting that the process does not allow.
    pub fn loss(&self, t: f64, [x, eps, out]: [&[f32]; 3], channels: usize) -> Result<f64> {
        let error = self.target.squared_error(&self.process.point(t), [x, eps, out], channels);
        Ok(self.weighting.weight(self.target, &self.process, t)? * error)
    }

    /// The times of `n` samples of a validation: evenly spread, so that the mean over them is the mean over time.
    pub fn validation_times(&self, n: usize) -> Vec<f64> {
        let word = |i: usize| (((2 * i + 1) as u64) << 32) / (2 * n as u64);
        (0..n).map(|i| self.process.time(word(i) as u32)).collect()
    }

    /// The forward process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Label inputs of the network in `step`: some labels are replaced by the null label.
    pub fn shown_labels(&self, step: u32, first: usize, labels: &[i32]) -> Vec<i32> {
        let shown = |(i, &label): (usize, &i32)| {
            let hidden = hides_label(self.seed, step, (first + i) as u32, self.label_drop);
            if hidden { self.classes as i32 } else { label }
        };
        labels.iter().enumerate().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ProbePoint;

    #[test]
    fn the_share_of_hidden_labels_is_the_probability() {
        let mut config = Config::default().with_settings(&["model.classes=3".into()]).unwrap();
        let hidden = |config: &Config| {
            let labels = vec![1; 1000];
            let objective = Objective::new(config).unwrap();
            let shown = (0..10).flat_map(|step| objective.shown_labels(step, 0, &labels));
            shown.filter(|&label| label == 3).count()
        };
        // Three standard deviations of a count of mean 2,000.
        assert!(hidden(&config).abs_diff(2000) <= 120, "{}", hidden(&config));
        config.diffusion.label_drop = 0.0;
        assert_eq!(hidden(&config), 0);
        config.diffusion.label_drop = 1.0;
        assert_eq!(hidden(&config), 10_000);
    }

    #[test]
    fn a_probe_has_the_time_input_of_training() {
        for schedule in ["diffusion.schedule=linear", "diffusion.schedule=vp-cosine"] {
            let config = Config::default().with_settings(&[schedule.into()]).unwrap();
            let objective = Objective::new(&config).unwrap();
            for (image, time) in objective.part(3, 0..8, false).unwrap().time.into_iter().enumerate() {
                let t = objective.time(3, image);
                assert_eq!(ProbePoint::new(objective.process(), t).network_time as f32, time, "{schedule}");
            }
        }
    }

    #[test]
    fn a_learned_variance_s_coefficients_are_the_textbook_s() {
        let settings = ["diffusion.timesteps=4", "diffusion.vb_weight=7", "diffusion.reduction=sum"];
        let config = Config::default().with_settings(&settings.map(String::from)).unwrap();
        let objective = Objective::new(&config).unwrap();
        let Process::Discrete(schedule) = objective.process() else { panic!("a table") };
        let part = objective.part(0, 0..32, true).unwrap();
        let (mut seen, values) = ([false; 5], config.model.sample_len() as f64);
        for (image, c) in part.hybrid.iter().enumerate() {
            let t = objective.time(0, image) as usize;
            seen[t] = true;
            let (a, beta) = (schedule.level(t).a, schedule.beta(t));
            let share = |s: usize| 1.0 - schedule.level(s).a.powi(2);
            let least = share(t.max(2) - 1) / share(t.max(2)) * schedule.beta(t.max(2));
            let x0_in_mean = schedule.level(t - 1).a * beta / share(t);
            let want = [
                part.weight[image].into(),
                f64::from(part.weight[image]) * 7.0 / values,
                1.0 / a,
                -share(t).sqrt() / a,
                x0_in_mean,
                least.ln(),
                beta.ln(),
                f64::from(u8::from(t == 1)),
            ];
            let close = |(&got, want): (&f32, f64)| (f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1e-3);
            assert!(c.values().iter().zip(want).all(close), "t = {t}: {c:?}, not {want:?}");
        }
        assert_eq!(seen, [false, true, true, true, true]);
    }

    #[test]
    fn parts_make_up_the_batch() {
        let objective = Objective::new(&Config::default()).unwrap();
        let [whole, first, second] = [0..8, 0..3, 3..8].map(|images| objective.part(5, images, true).unwrap());
        assert_eq!([first.noise, second.noise].concat(), whole.noise);
        assert_eq!([first.hybrid, second.hybrid].concat(), whole.hybrid);
        assert_eq!((whole.hybrid.len(), whole.time.len()), (8, 8));
    }
}
