//! A judge of drawn images: a classifier of the training data, and the features that it reads off them.

use super::context::Context;
use super::images::{dataset, images_at};
use super::settings::Need;
use crate::data::{Dataset, Split};
use crate::eval::classifier::Classifier;
use crate::eval::frechet::frechet_distance;
use crate::eval::moments::Moments;
use crate::eval::predictions::Predictions;
use crate::eval::set::{binarise, stretch};
use crate::sample::Samples;
use crate::train::Config;
use anyhow::{Context as _, Result};

/// A classifier of the training data, and the features of those data.
pub(super) struct Judge {
    classifier: Classifier,
    dims: usize,
    grey: Moments,
    binarised: Moments,
    /// Distances between the halves of the training data, the best that a perfect model can reach.
    pub topline: Topline,
}

/// Distances between the halves of the training data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topline {
    pub grey: f64,
    pub binarised: f64,
}

/// The measures of a set of drawn images.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// Fréchet distance of the classifier's features from those of the training data.
    pub frechet: f64,
    /// The same with both sets thresholded at mid-grey.
    pub frechet_binarised: f64,
    /// The same with each drawn image stretched to its own extremes instead of clamped.
    pub frechet_stretched: f64,
    /// Share of images of some class with a probability above 0.9.
    pub valid: f64,
    /// Share of images that look like the requested class.
    pub as_asked: Option<f64>,
    /// Variance of the features within a class.
    pub diversity: f64,
}

/// The features of the training data: their moments, and the distance of the halves.
struct Reference {
    moments: Moments,
    dims: usize,
    topline: f64,
}

impl Reference {
    fn new(classifier: &mut Classifier, train: &Dataset, binary: bool) -> Result<Reference> {
        let mut half = |part: usize| -> Result<Predictions> {
            let indices: Vec<usize> = (part..train.len()).step_by(2).collect();
            let mut images = images_at(train, &indices)?;
            if binary {
                binarise(&mut images);
            }
            Ok(classifier.evaluate(&images)?)
        };
        let [mut all, odd] = [half(0)?, half(1)?];
        let dims = all.features().len() / all.len();
        let topline = frechet_distance(&Moments::of(all.features(), dims)?, &Moments::of(odd.features(), dims)?)?;
        all.append(&odd);
        Ok(Reference { moments: Moments::of(all.features(), dims)?, dims, topline })
    }
}

impl Judge {
    /// The judge of a configuration's data, which are `need`. The classifier is trained if it was not before.
    pub fn new(context: &mut Context, config: &Config, need: Need) -> Result<Judge> {
        context.note(&format!("a classifier of {}", need.word()));
        let [train, test] = [dataset(config, Split::Train)?, dataset(config, Split::Test)?];
        let cache = context.settings().out.join("classifiers");
        let device = context.device()?;
        let mut progress = |done, total| context.progress(done, total);
        let mut classifier = Classifier::train_or_load(device, &train, &test, &cache, &mut progress)
            .with_context(|| format!("a classifier of {}", need.word()))?;
        let grey = Reference::new(&mut classifier, &train, false)?;
        let binarised = Reference::new(&mut classifier, &train, true)?;
        let topline = Topline { grey: grey.topline, binarised: binarised.topline };
        Ok(Judge { classifier, dims: grey.dims, grey: grey.moments, binarised: binarised.moments, topline })
    }

    /// Accuracy of the classifier on the test data.
    pub fn accuracy(&self) -> f64 {
        self.classifier.test_accuracy()
    }

    /// Judges samples. `classes` is the number of requested classes, which take turns.
    pub fn judge(&mut self, samples: &Samples, classes: Option<usize>) -> Result<Judgement> {
        let mut images = samples.images.clone();
        images.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
        let grey = self.classifier.evaluate(&images)?;
        binarise(&mut images);
        let binarised = self.classifier.evaluate(&images)?;
        let mut images = samples.images.clone();
        stretch(&mut images, samples.dims[1..].iter().product());
        let stretched = self.classifier.evaluate(&images)?;
        let requested: Option<Vec<usize>> = classes.map(|k| (0..grey.len()).map(|i| i % k).collect());
        let looks_like = grey.classes();
        Ok(Judgement {
            frechet: frechet_distance(&self.grey, &Moments::of(grey.features(), self.dims)?)?,
            frechet_binarised: frechet_distance(&self.binarised, &Moments::of(binarised.features(), self.dims)?)?,
            frechet_stretched: frechet_distance(&self.grey, &Moments::of(stretched.features(), self.dims)?)?,
            valid: grey.valid_share(),
            as_asked: requested.as_ref().map(|requested| grey.accuracy(requested)),
            diversity: grey.diversity(requested.as_ref().unwrap_or(&looks_like)),
        })
    }
}
