//! Cautions: settings that can be trained with, and whose samples will be poor. Said before the first step, each with the
//! setting that helps.

use super::config::Config;
use crate::Result;
use crate::diffusion::noise_schedule::{BetaRange, NoiseRange, Rates, TimeRange};
use crate::diffusion::{NoiseSchedule, PredictionTarget};

/// Share of the image at the last noise level, relative to all that is there, from which samples suffer visibly. A
/// thousand steps of Ho et al. (2020) leave 0.006, and the 0.068 of Stable Diffusion is too much (Lin et al. 2024).
const MOST_SIGNAL: f64 = 0.05;

impl Config {
    /// Sentences on settings with which samples will be poor, for the user.
    ///
    /// # Errors
    /// An impossible noise schedule.
    pub fn cautions(&self) -> Result<Vec<String>> {
        let mut cautions = Vec::new();
        let (schedule, left) = (&self.diffusion.schedule, self.diffusion.process()?.signal_left());
        if left > MOST_SIGNAL {
            let percent = 100.0 * left;
            let way = self.way_to_noise().map_or(String::new(), |way| format!("; {way}"));
            let name = serde_json::to_value(schedule).ok().and_then(|v| Some(v.get("schedule")?.as_str()?.to_owned()));
            cautions.push(format!(
                "diffusion.schedule = \"{}\" leaves {percent:.1} % of the image at its last noise level, but samples start \
                 from noise alone and will not look like the data{way}",
                name.unwrap_or_default()
            ));
        }
        if self.diffusion.target == PredictionTarget::Mu && !self.sample.clip_x0 {
            cautions.push(
                "diffusion.target = \"mu\" with sample.clip_x0 = false: every step adds the network's error to the sample \
                 itself, which may grow beyond all bounds; sample.clip_x0 = true keeps it finite"
                    .into(),
            );
        }
        Ok(cautions)
    }

    /// The setting of the noise schedule under which no image is left in the end, if one setting does it.
    fn way_to_noise(&self) -> Option<String> {
        let schedule = &self.diffusion.schedule;
        let candidates: Vec<(String, NoiseSchedule)> = match schedule {
            NoiseSchedule::Linear(range) => ways_of_betas(range, NoiseSchedule::Linear),
            NoiseSchedule::ScaledLinear(range) => ways_of_betas(range, NoiseSchedule::ScaledLinear),
            NoiseSchedule::Sigmoid(range) => ways_of_betas(range, NoiseSchedule::Sigmoid),
            NoiseSchedule::Cosine(_) | NoiseSchedule::Betas(_) => Vec::new(),
            NoiseSchedule::VpCosine(range) => {
                vec![("t_max = 0.999".into(), NoiseSchedule::VpCosine(TimeRange { t_max: 0.999, ..*range }))]
            }
            NoiseSchedule::VpLinear(rates) => vec![
                ("t_max = 0.999".into(), NoiseSchedule::VpLinear(Rates { t_max: 0.999, ..*rates })),
                ("beta_max = 20".into(), NoiseSchedule::VpLinear(Rates { beta_max: 20.0, ..*rates })),
            ],
            NoiseSchedule::Ve(range) => vec![
                ("t_max = 0.999".into(), NoiseSchedule::Ve(NoiseRange { t_max: 0.999, ..*range })),
                ("sigma_max = 50".into(), NoiseSchedule::Ve(NoiseRange { sigma_max: 50.0, ..*range })),
            ],
        };
        let works =
            |schedule: &NoiseSchedule| schedule.process().is_ok_and(|process| process.signal_left() <= MOST_SIGNAL);
        let way = candidates.into_iter().find(|(_, schedule)| works(schedule))?;
        Some(format!("diffusion.{} helps", way.0))
    }
}

/// Larger variances of as many steps, such that their sum is that of a thousand steps to 0.02; or a thousand steps.
fn ways_of_betas(range: &BetaRange, make: fn(BetaRange) -> NoiseSchedule) -> Vec<(String, NoiseSchedule)> {
    let ends = [20.0, 40.0].map(|sum| sum / range.timesteps as f64).into_iter().filter(|end| *end < 1.0);
    let larger = ends.map(|beta_end| (format!("beta_end = {beta_end}"), make(BetaRange { beta_end, ..*range })));
    let more = ("timesteps = 1000".into(), make(BetaRange { timesteps: 1000, ..*range }));
    larger.chain([more]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::presets;

    fn cautions(settings: &[&str]) -> Vec<String> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).into()).collect();
        let config = Config::default().with_settings(&settings).unwrap();
        config.validate().unwrap();
        config.cautions().unwrap()
    }

    #[track_caller]
    fn warns(settings: &[&str], share: &str, way: &str) {
        let found = cautions(settings);
        let [text] = &found[..] else { panic!("{settings:?}: {found:?}") };
        assert!(text.contains(share) && text.ends_with(way) && !text.contains('\n'), "{settings:?}: {text}");
        // The way that it names is one.
        let way = way.trim_start_matches("; ").trim_end_matches(" helps").replace(' ', "");
        assert_eq!(cautions(&[settings, &[&way]].concat()), Vec::<String>::new(), "{settings:?}: {way}");
    }

    #[test]
    fn a_schedule_that_leaves_some_of_the_image_is_told_with_a_way() {
        warns(&["diffusion.timesteps=500"], "\"linear\" leaves 8.0 %", "; diffusion.beta_end = 0.04 helps");
        warns(&["diffusion.timesteps=10"], "leaves 95.", "; diffusion.timesteps = 1000 helps");
        let stable = ["diffusion.schedule=scaled-linear", "diffusion.beta_start=0.00085", "diffusion.beta_end=0.012"];
        warns(&stable, "leaves 6.8 %", "; diffusion.beta_end = 0.02 helps");
        warns(
            &["diffusion.schedule=vp-cosine", "diffusion.t_max=0.9"],
            "leaves 15.6 %",
            "; diffusion.t_max = 0.999 helps",
        );
        let slow = ["diffusion.schedule=vp-linear", "diffusion.beta_min=0.0001", "diffusion.beta_max=0.02"];
        warns(&slow, "leaves 99.5 %", "; diffusion.beta_max = 20 helps");
        warns(&["diffusion.schedule=ve", "diffusion.sigma_max=5"], "leaves 19.", "; diffusion.sigma_max = 50 helps");
    }

    #[test]
    fn schedules_that_end_in_noise_are_not_remarked_upon() {
        let ends = ["linear", "scaled-linear", "sigmoid", "cosine", "vp-cosine", "vp-linear", "ve"];
        for schedule in ends.map(|name| format!("diffusion.schedule={name}")) {
            assert_eq!(cautions(&[&schedule]), Vec::<String>::new(), "{schedule}");
        }
        let zero = ["diffusion.timesteps=500", "diffusion.zero_terminal_snr=true", "diffusion.target=v"];
        assert_eq!(cautions(&zero), Vec::<String>::new());
        // The report that these repeat has T = 500 and the variances of T = 1000.
        for preset in presets::ALL {
            let expected = ["mnist-dm1", "mnist-dm2", "cifar-c1"].contains(&preset.name);
            assert_eq!((preset.config)().cautions().unwrap().len(), usize::from(expected), "{}", preset.name);
        }
    }

    #[test]
    fn noise_says_nothing_where_no_signal_is_left_and_is_refused() {
        for target in ["epsilon", "score", "score-scaled"] {
            let settings = ["diffusion.zero_terminal_snr=true".into(), format!("diffusion.target={target}")];
            let message = Config::default().with_settings(&settings).unwrap().validate().unwrap_err().to_string();
            assert!(
                message.contains("the last noise level has no signal left") && message.contains("x0 or v"),
                "{message}"
            );
        }
        let late = ["diffusion.schedule=vp-cosine".into(), "diffusion.t_max=1".into()];
        let message = Config::default().with_settings(&late).unwrap().validate().unwrap_err().to_string();
        assert!(message.contains("t_max = 1"), "{message}");
    }

    #[test]
    fn a_mean_that_is_not_clipped_is_told() {
        let [text] = &cautions(&["diffusion.target=mu", "sample.clip_x0=false"])[..] else { panic!("one caution") };
        assert!(text.contains("sample.clip_x0 = true"), "{text}");
        assert_eq!(cautions(&["diffusion.target=mu"]), Vec::<String>::new());
        assert_eq!(cautions(&["sample.clip_x0=false"]), Vec::<String>::new());
    }
}
