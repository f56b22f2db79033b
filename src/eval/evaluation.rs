//! Evaluation of samples against the training data, by any of the metrics.

use super::classifier::Classifier;
use super::coding::CodingSummary;
use super::energy::energy_distance;
use super::features::Features;
use super::flow::FlowLikelihood;
use super::frechet::frechet_distance;
use super::kid::{Kid, Subsets, kid};
use super::moments::Moments;
use super::nll::Nll;
use super::predictions::{Predictions, VALID};
use super::set::Set;
use super::time_losses::TimeLosses;
use crate::train::validation::MeanLoss;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A measure of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Fréchet distance of features.
    Frechet,
    /// Kernel distance of features.
    Kid,
    /// Distances of the means and of the covariances of the samples themselves.
    Moments,
    /// Energy distance of points.
    Energy,
    /// Classes of images, by a classifier.
    Classes,
    /// Bits per dimension of test samples under the model, by the variational bound.
    Nll,
    /// Bits and errors of sending test images step by step.
    Coding,
    /// The bound of continuous time.
    Nelbo,
    /// The error of the network's own target over continuous time.
    Weighted,
    /// The error of the image over continuous time.
    Rescaled,
    /// Bits per dimension of test samples under the model, by the probability flow.
    Ode,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 11] = [
        Metric::Frechet,
        Metric::Kid,
        Metric::Moments,
        Metric::Energy,
        Metric::Classes,
        Metric::Nll,
        Metric::Coding,
        Metric::Nelbo,
        Metric::Weighted,
        Metric::Rescaled,
        Metric::Ode,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Frechet => "frechet",
            Metric::Kid => "kid",
            Metric::Moments => "moments",
            Metric::Energy => "energy",
            Metric::Classes => "classes",
            Metric::Nll => "nll",
            Metric::Coding => "coding",
            Metric::Nelbo => "nelbo",
            Metric::Weighted => "weighted",
            Metric::Rescaled => "rescaled",
            Metric::Ode => "ode",
        }
    }

    /// True for the metrics that compare features of a network.
    pub fn needs_features(self) -> bool {
        matches!(self, Metric::Frechet | Metric::Kid)
    }

    /// True for the losses over continuous time.
    pub fn is_time_loss(self) -> bool {
        matches!(self, Metric::Nelbo | Metric::Weighted | Metric::Rescaled)
    }

    /// True for the metrics that look at the model's network on test data, and need no samples of it.
    pub fn is_of_network(self) -> bool {
        self.is_time_loss() || matches!(self, Metric::Nll | Metric::Coding | Metric::Ode)
    }

    /// The metrics that are taken if none is requested.
    pub fn defaults(points: bool, labelled: bool) -> Vec<Metric> {
        match (points, labelled) {
            (true, _) => vec![Metric::Moments, Metric::Energy],
            (false, true) => vec![Metric::Frechet, Metric::Kid, Metric::Classes],
            (false, false) => vec![Metric::Moments],
        }
    }

    /// Checks that the metric is defined for points, or for images.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(self, points: bool) -> Result<()> {
        let refuse = |reason: &str| Err(Error::Config(format!("{self}: {reason}")));
        match self {
            Metric::Frechet | Metric::Kid | Metric::Classes if points => {
                refuse("the samples are points, not images; moments and energy compare points")
            }
            Metric::Coding if points => refuse("the samples are points, and it sends images of 256 levels"),
            Metric::Energy if !points => refuse("the samples are images, and it compares points"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Metric> {
        let known = || Metric::ALL.map(Metric::name).join(", ");
        let found = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        found.ok_or_else(|| Error::Config(format!("unknown metric \"{name}\"; there are {}", known())))
    }
}

/// The results of an evaluation; metrics that were not taken are absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Evaluation {
    /// The evaluated samples, in words.
    pub samples: String,
    /// The reference that they were compared with, in words.
    pub reference: String,
    /// Number of samples.
    pub n: usize,
    /// Seed of the samples, and of the subsets of the kernel distance.
    pub seed: u64,
    /// True if both sides were thresholded.
    pub binarised: bool,
    /// The network whose features were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// Fréchet distance of the features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_distance: Option<f64>,
    /// Kernel distance of the features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_distance: Option<Kid>,
    /// Distance of the means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_distance: Option<f64>,
    /// Distance of the covariances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariance_distance: Option<f64>,
    /// Energy distance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_distance: Option<f64>,
    /// The predictions of the classifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// Bound of the likelihood of test samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll: Option<Nll>,
    /// Likelihood of test samples by the probability flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ode: Option<FlowLikelihood>,
    /// Progressive coding of test images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coding: Option<CodingSummary>,
    /// Losses over continuous time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<TimeLosses>,
}

/// The predictions of a classifier for samples.
#[derive(Clone, Debug, Serialize)]
pub struct Classes {
    /// Accuracy of the classifier on real test images.
    pub classifier_accuracy: f64,
    /// Share of the samples whose class it predicts with a high probability.
    pub valid_share: f64,
    /// Share of the samples that look most like each class.
    pub shares: Vec<ClassShare>,
    /// Share of the samples that look like the class requested of each, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_share: Option<f64>,
    /// Variance of the features within a class.
    pub diversity: f64,
}

/// The frequency of a class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassShare {
    /// The class.
    pub name: String,
    /// Its share.
    pub share: f64,
}

impl Evaluation {
    /// Compares features `[n, dims]` of both sides; of the reference at least their moments are needed.
    ///
    /// # Errors
    /// Too few samples for a metric, or features of another network.
    pub fn compare_features(
        &mut self,
        metrics: &[Metric],
        (samples, dims): (&[f32], usize),
        (reference, moments): (Option<&[f32]>, &Moments),
    ) -> Result<()> {
        if metrics.contains(&Metric::Frechet) {
            self.frechet_distance = Some(frechet_distance(&Moments::of(samples, dims)?, moments)?);
        }
        if metrics.contains(&Metric::Kid) {
            let Some(reference) = reference else {
                return Err(Error::Config("kid: statistics of features do not suffice, images are needed".into()));
            };
            let fewest = samples.len().min(reference.len()) / dims;
            let subsets = Subsets { count: 100, samples: (fewest / 2).clamp(2, 1000), seed: self.seed };
            self.kernel_distance = Some(kid(samples, reference, dims, subsets)?);
        }
        Ok(())
    }

    /// Compares the samples as they are.
    ///
    /// # Errors
    /// Too few samples.
    pub fn compare_values(&mut self, metrics: &[Metric], samples: &Set, reference: &Set) -> Result<()> {
        let requested = |metric| metrics.contains(&metric);
        if !requested(Metric::Moments) && !requested(Metric::Energy) {
            return Ok(());
        }
        let dims = samples.dims().iter().product();
        let (x, y) = (samples.read(0..samples.len())?, reference.read(0..reference.len())?);
        if requested(Metric::Moments) {
            let (x, y) = (Moments::of(&x, dims)?, Moments::of(&y, dims)?);
            self.mean_distance = Some(x.mean_distance(&y));
            self.covariance_distance = Some(x.covariance_distance(&y));
        }
        if requested(Metric::Energy) {
            self.energy_distance = Some(energy_distance(&x, &y, dims)?);
        }
        Ok(())
    }

    /// Classifies the samples; `requested` is the class requested of each.
    ///
    /// # Errors
    /// Images of another size than it was trained on, or what the device reports.
    pub fn classify(&mut self, classifier: &mut Classifier, samples: &Set, requested: Option<&[usize]>) -> Result<()> {
        let names = classifier.class_names().to_vec();
        let mut predicted = Predictions::new(names.len(), classifier.dims());
        samples.for_chunks(|images, dims| {
            predicted.append(&classifier.evaluate_sized(images, dims)?);
            Ok(())
        })?;
        let shares = names.into_iter().zip(predicted.class_shares()).map(|(name, share)| ClassShare { name, share });
        self.classes = Some(Classes {
            classifier_accuracy: classifier.test_accuracy(),
            valid_share: predicted.valid_share(),
            shares: shares.collect(),
            requested_share: requested.map(|classes| predicted.accuracy(classes)),
            diversity: predicted.diversity(requested.unwrap_or(&predicted.classes())),
        });
        Ok(())
    }

    /// The results as rows of a table: name and value.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: Option<String>| rows.extend(value.map(|value| (name.to_owned(), value)));
        let percent = |v: f64| format!("{:.1} %", 100.0 * v);
        let features = self.features.as_deref().unwrap_or_default();
        let plus_minus = |k: Kid| format!("{} ± {}", significant(k.mean), significant(k.standard_error));
        row(&format!("Fréchet distance ({features} features)"), self.frechet_distance.map(significant));
        row(&format!("kernel distance ({features} features)"), self.kernel_distance.map(plus_minus));
        row("mean distance", self.mean_distance.map(significant));
        row("covariance distance", self.covariance_distance.map(significant));
        row("energy distance", self.energy_distance.map(significant));
        if let Some(classes) = &self.classes {
            row("classifier, right on test data", Some(percent(classes.classifier_accuracy)));
            row(&format!("samples of a class with p > {VALID}"), Some(percent(classes.valid_share)));
            row("samples of the requested class", classes.requested_share.map(percent));
            row("variance within a class", Some(significant(classes.diversity)));
            for ClassShare { name, share } in &classes.shares {
                row(&format!("class {name}"), Some(percent(*share)));
            }
        }
        let mean = |of: MeanLoss| Some(format!("{} ± {}", significant(of.loss), significant(of.standard_error)));
        if let Some(flow) = &self.ode {
            row("bits per dimension by the probability flow", mean(flow.bits));
            let [first, last] = flow.times;
            let probes = match flow.probes {
                0 => "exact divergence".into(),
                1 => "divergence by 1 probe".into(),
                n => format!("divergence by {n} probes"),
            };
            let (steps, change, samples) = (flow.steps, significant(flow.change), flow.samples);
            let met = if flow.change <= flow.tolerance { "" } else { ", more than was asked for" };
            row("its integral", Some(format!("{steps} steps of Heun from t = {first} to {last}, {probes}")));
            row("its change by the last doubling of the steps", Some(format!("{change}{met}")));
            row("test samples of the probability flow", Some(samples.to_string()));
        }
        if let Some(nll) = &self.nll {
            row("bits per dimension, at most", mean(nll.bits));
            row("of them the decoder's", Some(significant(nll.decoder)));
            row("steps of the bound", Some(nll.terms.to_string()));
            row("bits per dimension as Ambilduke et al. counted", nll.ambilduke.and_then(mean));
            row("test samples of the bound", Some(nll.images.to_string()));
        }
        rows.extend(self.coding.iter().flat_map(CodingSummary::rows));
        rows.extend(self.losses.iter().flat_map(TimeLosses::rows));
        rows
    }
}

/// Four significant digits.
fn significant(v: f64) -> String {
    let magnitude = if v == 0.0 { 0.0 } else { v.abs().log10().floor() };
    format!("{v:.*}", (3.0 - magnitude).clamp(0.0, 12.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::normals::normals;

    #[test]
    fn metrics_know_what_they_measure() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
        }
        let refused = |result: Result<()>, wanted: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        };
        refused("fid".parse::<Metric>().map(drop), "frechet, kid, moments, energy, classes");
        refused(Metric::Frechet.check(true), "moments and energy compare points");
        refused(Metric::Energy.check(false), "compares points");
        for points in [false, true] {
            Metric::defaults(points, true).into_iter().try_for_each(|metric| metric.check(points)).unwrap();
        }
    }

    #[test]
    fn numbers_have_four_digits() {
        let shown = [451.859_66, -0.000_065_123, 12_345.6, 0.0, 9.99996, 1.0].map(significant);
        assert_eq!(shown, ["451.9", "-0.00006512", "12346", "0.000", "10.000", "1.000"]);
    }

    #[test]
    fn points_are_compared_as_they_are() {
        let points =
            |seed, shift| Set::samples(normals(seed, 2 * 3000).iter().map(|v| v + shift).collect(), [3000, 1, 1, 2]);
        let mut evaluation = Evaluation::default();
        let metrics = Metric::defaults(true, false);
        evaluation.compare_values(&metrics, &points(1, 0.5), &points(2, 0.0)).unwrap();
        // A shift by (1/2, 1/2), give or take the error of 3000 samples.
        assert!((evaluation.mean_distance.unwrap() - 0.5f64.sqrt()).abs() <= 0.1);
        assert!(evaluation.covariance_distance.unwrap() <= 0.15);
        assert!(evaluation.energy_distance.unwrap() >= 0.1);
        assert_eq!(evaluation.rows().len(), 3);
        let json = serde_json::to_value(&evaluation).unwrap();
        assert!(json["energy_distance"].is_f64() && json.get("classes").is_none());
    }
}
