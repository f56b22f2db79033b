//! Moving averages of the weights: after every update, `ema <- b ema + (1 - b) w`. They differ in the decay `b`.
//!
//! | text in `train.ema` | decay of update `t = 1, 2, ...` | source |
//! |---|---|---|
//! | `decay=D` | `D` | Ho et al. (2020), with D = 0.9999 |
//! | `warmup=D` | `min(D, t / (t + 9))` | TensorFlow's `ExponentialMovingAverage` with `num_updates`; what `train.ema_decay` means |
//! | `half-life=N` | `2^(-batch / N)` | Karras et al. (2022): N images halve the share of old weights; EDM trains CIFAR-10 with 500,000 |
//! | `half-life=N,ramp-up=R` | the same with `min(N, R n)` for N, after `n` images; 0 at first | EDM's `--ema` in thousands of images, with its `ema_rampup_ratio` R = 0.05 |
//! | `power=P` | `1 - t^-P` | diffusers' `EMAModel` with `use_ema_warmup`; its P is 2/3 by default, 3/4 for short runs |
//! | `power=P,inv-gamma=G,max=D` | `min(D, 1 - (1 + (t - 1) / G)^-P)` | the same; D is its `decay` |
//! | `sigma-rel=S` | `(1 - 1 / t)^(g + 1)` | Karras et al. (2024), eq. 127: a power function of relative width S, where `S^2 = (g + 1) / ((g + 2)^2 (g + 3))` |
//!
//! The text is the average's name, too.

use super::config::TrainConfig;
use crate::{Error, Result};

/// Largest relative width of a power function: that of `g = 0`, all weights alike.
const MOST_SIGMA_REL: f64 = 0.288;

/// A moving average of the weights: the course of its decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Average {
    /// The same decay in every update.
    Constant { decay: f64 },
    /// A decay that rises with the number of weights averaged, so that early samples are not those of the initial ones.
    Warmup { decay: f64 },
    /// A number of images after which old weights count half; at first only `ramp_up` times those that were seen.
    HalfLife { images: f64, ramp_up: Option<f64> },
    /// A decay that nears 1, or `most`, like a power of the number of updates.
    Power { power: f64, inv_gamma: f64, most: f64 },
    /// Weights that count as a power of the update in which they were made.
    PowerFunction { exponent: f64 },
}

impl Average {
    /// Reads the text of an average.
    ///
    /// # Errors
    /// Another text, or a number out of its range.
    pub fn parse(text: &str) -> Result<Average> {
        let wrong = |reason: &str| Error::Config(format!("train.ema: \"{text}\": {reason}"));
        let known = "wanted decay=0.9999, warmup=0.9999, half-life=500000 (images; ramp-up=0.05 may follow), power=0.75 \
                     (inv-gamma=1 and max=0.9999 may follow) or sigma-rel=0.05";
        let mut parts = text.split(',').map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(known))?;
            Ok((name.trim(), value.trim().parse::<f64>().map_err(|_| wrong(known))?))
        });
        let (form, value) = parts.next().ok_or_else(|| wrong(known))??;
        let (mut ramp_up, mut inv_gamma, mut most) = (None, 1.0, 1.0);
        for part in parts {
            match (form, part?) {
                ("half-life", ("ramp-up", value)) => ramp_up = Some(value),
                ("power", ("inv-gamma", value)) => inv_gamma = value,
                ("power", ("max", value)) => most = value,
                _ => return Err(wrong(known)),
            }
        }
        let in_range = |is: bool, range: &str| if is { Ok(()) } else { Err(wrong(range)) };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        match form {
            "decay" | "warmup" => {
                in_range((0.0..1.0).contains(&value), "a decay lies in [0, 1)")?;
                let is_constant = form == "decay";
                Ok(if is_constant { Average::Constant { decay: value } } else { Average::Warmup { decay: value } })
            }
            "half-life" => {
                in_range(positive(value) && ramp_up.is_none_or(positive), "half-life and ramp-up are above 0")?;
                Ok(Average::HalfLife { images: value, ramp_up })
            }
            "power" => {
                in_range(positive(value) && positive(inv_gamma), "power and inv-gamma are above 0")?;
                in_range((0.0..=1.0).contains(&most), "max lies in [0, 1]")?;
                Ok(Average::Power { power: value, inv_gamma, most })
            }
            "sigma-rel" => {
                in_range(value > 0.001 && value <= MOST_SIGMA_REL, "sigma-rel lies in (0.001, 0.288]")?;
                Ok(Average::PowerFunction { exponent: exponent(value) })
            }
            _ => Err(wrong(known)),
        }
    }

    /// Decay in an update, counted from 0, of so many images.
    pub fn decay(self, step: u64, batch_size: usize) -> f64 {
        let (before, batch) = (step as f64, batch_size as f64);
        match self {
            Average::Constant { decay } => decay,
            Average::Warmup { decay } => decay.min((1.0 + before) / (10.0 + before)),
            Average::HalfLife { images, ramp_up } => {
                let half_life = ramp_up.map_or(images, |ratio| images.min(ratio * before * batch));
                0.5f64.powf(batch / half_life.max(1e-8))
            }
            Average::Power { power, inv_gamma, most } => most.min(1.0 - (1.0 + before / inv_gamma).powf(-power)),
            Average::PowerFunction { exponent } => (1.0 - 1.0 / (before + 1.0)).powf(exponent + 1.0),
        }
    }
}

/// The exponent of the power function of this relative width, which falls as the exponent grows.
fn exponent(sigma_rel: f64) -> f64 {
    let width = |g: f64| (g + 1.0).sqrt() / ((g + 2.0) * (g + 3.0).sqrt());
    let (mut low, mut high) = (0.0, 1.0 / sigma_rel + 1.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if width(middle) > sigma_rel { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

impl TrainConfig {
    /// Names of the moving averages, the first of which samples are drawn with.
    pub fn average_names(&self) -> Vec<String> {
        if self.ema.is_empty() { vec![format!("warmup={}", self.ema_decay)] } else { self.ema.clone() }
    }

    /// The moving averages.
    ///
    /// # Errors
    /// A text that names none, or one that is there twice.
    pub fn averages(&self) -> Result<Vec<Average>> {
        if let Some(twice) = self.ema.iter().enumerate().find_map(|(i, name)| self.ema[..i].iter().find(|n| *n == name))
        {
            return Err(Error::Config(format!("train.ema: \"{twice}\" is there twice")));
        }
        match &self.ema[..] {
            [] => Ok(vec![Average::Warmup { decay: self.ema_decay }]),
            texts => texts.iter().map(|text| Average::parse(text)).collect(),
        }
    }

    /// Number of moving averages beside the first.
    pub fn further_averages(&self) -> usize {
        self.ema.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decays of the updates `t` of batches of 128 images.
    fn decays<const N: usize>(text: &str, updates: [u64; N]) -> [f64; N] {
        let average = Average::parse(text).unwrap();
        updates.map(|t| average.decay(t - 1, 128))
    }

    #[track_caller]
    fn are_close<const N: usize>(found: [f64; N], wanted: [f64; N]) {
        assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() <= 1e-12), "{found:?}, not {wanted:?}");
    }

    #[test]
    fn the_average_of_old_files_starts_short_and_reaches_its_decay() {
        let train = TrainConfig { ema_decay: 0.999, ..TrainConfig::default() };
        let [average] = train.averages().unwrap()[..] else { panic!("one average") };
        assert_eq!([0, 90, 1_000_000].map(|step| average.decay(step, 64)), [0.1, 0.91, 0.999]);
        assert_eq!(Average::parse(&train.average_names()[0]).unwrap(), average);
        let off = TrainConfig { ema_decay: 0.0, ..train }.averages().unwrap();
        assert_eq!(off[0].decay(1000, 64), 0.0);
    }

    /// `EMAModel(params, decay=0.9999, use_ema_warmup=True, inv_gamma=..., power=...).get_decay(t)` of diffusers 0.42.
    #[test]
    fn the_power_is_that_of_diffusers() {
        let updates = [1, 2, 3, 100, 10_000, 10_000_000];
        are_close(
            decays("power=0.75,max=0.9999", updates),
            [0.0, 0.4053964424986395, 0.5613086623491692, 0.9683772233983162, 0.999, 0.9999],
        );
        are_close(
            decays("power=0.6666666666666666, inv-gamma=5, max=0.9999", updates),
            [0.0, 0.11445119234782408, 0.20093646994185943, 0.8677818397044095, 0.9937020740854929, 0.9999],
        );
    }

    /// `0.5 ** (128 / max(min(500_000, 0.05 * 128 * (t - 1)), 1e-8))` of EDM's training loop.
    #[test]
    fn the_half_life_is_that_of_edm() {
        assert_eq!(decays("half-life=500000", [1, 7]), [0.5f64.powf(128.0 / 500_000.0); 2]);
        let ramp = decays("half-life=500000,ramp-up=0.05", [1, 2, 101, 1_000_000]);
        are_close(ramp, [0.0, 0.5f64.powf(20.0), 0.5f64.powf(0.2), 0.5f64.powf(128.0 / 500_000.0)]);
        // Its meaning: after so many images the weights of the start count half.
        let average = Average::parse("half-life=1280").unwrap();
        let left: f64 = (0..10).map(|step| average.decay(step, 128)).product();
        assert!((left - 0.5).abs() <= 1e-12);
    }

    /// `power_function_beta(std, t, 1)` of EDM2, with `roots([1, 7, 16 - std^-2, 12 - std^-2]).real.max()` of numpy.
    #[test]
    fn the_power_function_is_that_of_edm2() {
        are_close(decays("sigma-rel=0.05", [1, 2, 1000]), [0.0, 3.888921105204215e-06, 0.9821795062966565]);
        are_close(decays("sigma-rel=0.1", [1, 2, 1000]), [0.0, 0.004080031659650188, 0.9920902726450789]);
        // The width of the profile is the one asked for.
        let (average, n) = (Average::parse("sigma-rel=0.1").unwrap(), 2000);
        let mut shares: Vec<f64> = Vec::new();
        for step in 0..n {
            let decay = average.decay(step, 1);
            shares.iter_mut().for_each(|share| *share *= decay);
            shares.push(1.0 - decay);
        }
        let time = |i: usize| (i + 1) as f64 / n as f64;
        let moment = |k: i32| shares.iter().enumerate().map(|(i, share)| share * time(i).powi(k)).sum::<f64>();
        assert!((moment(0) - 1.0).abs() <= 1e-12);
        let width = (moment(2) - moment(1).powi(2)).sqrt();
        assert!((width - 0.1).abs() <= 1e-3, "{width}");
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| Average::parse(text).unwrap_err().to_string();
        for text in ["", "0.999", "decay", "decay=x", "decays=0.9", "decay=0.9,max=1", "power=1,max=2=3"] {
            assert!(refused(text).contains("wanted decay=0.9999, warmup="), "{text}: {}", refused(text));
        }
        assert!(refused("decay=1").contains("a decay lies in [0, 1)"));
        assert!(refused("decay=nan").contains("a decay lies in [0, 1)"));
        assert!(refused("half-life=0").contains("above 0"));
        assert!(refused("power=-1").contains("above 0"));
        assert!(refused("power=1,max=1.5").contains("max lies in [0, 1]"));
        assert!(refused("sigma-rel=0.5").contains("sigma-rel lies in"));
        let twice = TrainConfig { ema: vec!["decay=0.9".into(); 2], ..TrainConfig::default() };
        assert!(twice.averages().unwrap_err().to_string().contains("\"decay=0.9\" is there twice"));
    }
}
