//! Settings of sampling: the `sample` section of a configuration.

use super::diffusion_config::DiffusionConfig;
use crate::diffusion::{DiffusersLoop, Process, SamplePlan, Sampler, Variance};
use crate::nn::ModelConfig;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of sampling. Each sampler has settings of its own beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleConfig {
    /// Samples on a sheet; 0: no sheets.
    pub n: usize,
    /// The rule for the way back from noise.
    #[serde(flatten)]
    pub sampler: Sampler,
    /// Evaluations of the network per sample; 0: one for every noise level, 512 in continuous time.
    pub steps: usize,
    /// Clip the predicted image in every step.
    pub clip_x0: bool,
    /// Largest absolute value of a clipped image.
    pub clip_range: f64,
    /// Strength w of classifier-free guidance: out = (1 + w) out_with_label - w out_without; 0: none.
    pub guidance: f64,
    /// Seed of the samples.
    pub seed: u64,
    /// Names of the classes of a conditional network, in the order of their numbers; a run takes them from its data.
    pub class_names: Vec<String>,
    /// Times and levels as a scheduler of diffusers lays them out; only of models from a diffusers folder.
    #[serde(skip)]
    pub diffusers: Option<DiffusersLoop>,
}

impl Default for SampleConfig {
    fn default() -> Self {
        SampleConfig {
            n: 64,
            sampler: Sampler::default(),
            steps: 0,
            clip_x0: true,
            clip_range: 1.0,
            guidance: 0.0,
            seed: 0,
            class_names: Vec::new(),
            diffusers: None,
        }
    }
}

impl SampleConfig {
    /// The steps back in time with a network that was trained with `diffusion`.
    ///
    /// # Errors
    /// Settings that contradict the noise schedule, the network or each other.
    pub fn plan(&self, diffusion: &DiffusionConfig, learns_variance: bool) -> Result<SamplePlan> {
        if self.sampler.variance() == Variance::Learned && !learns_variance {
            return Err(Error::Config(
                "sample.variance = \"learned\": the network has no channels for a variance; choose fixed-small or \
                 fixed-large"
                    .into(),
            ));
        }
        let (process, target) = (diffusion.process()?, diffusion.target);
        let plan = match (&self.diffusers, &process) {
            (Some(layout), Process::Discrete(schedule)) if DiffusersLoop::has(self.sampler) => {
                layout.plan(self.sampler, schedule, target, self.steps, self.clip())
            }
            _ => SamplePlan::new(self.sampler, &process, target, self.steps, self.clip()),
        };
        plan.map_err(|e| Error::Config(format!("sample: {e}")))
    }

    /// The number of the class that is called `text`, or whose number it is where none is called so. `classes` are there.
    ///
    /// # Errors
    /// A class that is not there, with those that are.
    pub fn class(&self, text: &str, classes: usize) -> Result<usize> {
        let is_called = |name: &String| name.to_lowercase() == text.to_lowercase();
        let exact = self.class_names.iter().position(|name| name == text);
        let found = exact.or_else(|| self.class_names.iter().position(is_called)).or_else(|| text.parse().ok());
        found.filter(|&class| class < classes).ok_or_else(|| {
            let named = |class: usize| self.class_names.get(class).map_or(class.to_string(), String::clone);
            let (shown, more) = (classes.min(20), if classes > 20 { ", ..." } else { "" });
            let names = (0..shown).map(named).collect::<Vec<_>>().join(", ");
            Error::Config(format!("class {text}: the model knows {classes} classes: {names}{more}"))
        })
    }

    /// A class in words: its number, and its name where that is another.
    pub fn class_in_words(&self, class: usize) -> String {
        match self.class_names.get(class) {
            Some(name) if *name != class.to_string() => format!("{name} (class number {class}, counted from 0)"),
            _ => class.to_string(),
        }
    }

    /// Bound of the predicted image, if it is clipped.
    pub fn clip(&self) -> Option<f64> {
        self.clip_x0.then_some(self.clip_range)
    }

    /// Checks that a network can be guided as these settings require.
    ///
    /// # Errors
    /// Guidance of a network that knows no classes, or has no label for "no class".
    pub fn check_guidance(&self, model: &ModelConfig) -> Result<()> {
        if !self.guidance.is_finite() {
            return Err(Error::Config(format!("sample.guidance = {} is not a number", self.guidance)));
        }
        if self.guidance != 0.0 && model.classes() == 0 {
            return Err(Error::Config(format!(
                "sample.guidance = {}: guidance needs a network that is trained with labels (model.classes > 0); without: --set \
                 sample.guidance=0",
                self.guidance
            )));
        }
        if self.guidance != 0.0 && !model.has_null_class() {
            return Err(Error::Config(format!(
                "sample.guidance = {}: the model has no label for \"no class\", which guidance needs",
                self.guidance
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_its_name_before_its_number() {
        let digits = SampleConfig { class_names: ["1", "2", "3"].map(String::from).into(), ..SampleConfig::default() };
        assert_eq!(digits.class("2", 3).unwrap(), 1);
        assert_eq!(digits.class("0", 3).unwrap(), 0, "no class is called 0, so it is the first");
        assert_eq!(digits.class_in_words(1), "2 (class number 1, counted from 0)");
        let message = digits.class("4", 3).unwrap_err().to_string();
        assert!(message.contains("class 4: the model knows 3 classes: 1, 2, 3"), "{message}");
        let animals = SampleConfig { class_names: ["Cat", "dog"].map(String::from).into(), ..SampleConfig::default() };
        assert_eq!(animals.class("cat", 2).unwrap(), 0);
        assert!(animals.class("cats", 2).unwrap_err().to_string().ends_with("2 classes: Cat, dog"));
        let unnamed = SampleConfig::default();
        assert_eq!((unnamed.class("7", 10).unwrap(), unnamed.class_in_words(7)), (7, "7".into()));
        assert!(unnamed.class("10", 10).is_err());
    }
}
