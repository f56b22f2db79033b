//! What experiments on images share: a trained model that draws, and a judge of what it draws.

use super::{Context, Need};
use crate::Result;
use crate::data::{self, Dataset, Split};
use crate::diffusion::SamplePlan;
use crate::eval::classifier::Classifier;
use crate::eval::frechet::frechet_distance;
use crate::eval::moments::Moments;
use crate::eval::nll::{Nll, NllOptions, nll};
use crate::eval::predictions::Predictions;
use crate::sample::{Request, Samples};
use crate::train::sample_config::SampleConfig;
use crate::train::{Config, LoadedModel, ModelFile, Which};

/// What is drawn from a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw<'a> {
    /// Number of images.
    pub n: usize,
    /// Strength of the guidance.
    pub guidance: f64,
    /// The class of all of them, or the number of classes for none; else the classes take turns.
    pub class: Option<usize>,
    /// After how many steps stages are kept; empty: evenly spread.
    pub stages: &'a [usize],
    /// A step for every noise level, whatever the configuration says.
    pub every_step: bool,
}

/// A run's model on the context's device, drawing as `config.sample` says, which need not be what the run said.
pub(super) fn load(context: &mut Context, config: &Config, guided: bool) -> Result<LoadedModel> {
    load_as(context, config, &config.sample, guided)
}

/// [`load`], drawing as `sample` says: the run is that of `config` all the same.
pub(super) fn load_as(
    context: &mut Context,
    config: &Config,
    sample: &SampleConfig,
    guided: bool,
) -> Result<LoadedModel> {
    let run = context.trained(config)?;
    let mut model = ModelFile::open(run.path(), Which::new(config.train.ema_decay == 0.0))?;
    model.config.sample = sample.clone();
    model.config.sample.guidance = f64::from(u8::from(guided));
    LoadedModel::new(&model, context.device()?)
}

/// Draws from a model, with progress.
pub(super) fn draw(context: &mut Context, model: &mut LoadedModel, draw: Draw) -> Result<Samples> {
    let Draw { n, guidance, class, stages, every_step } = draw;
    let (plan, seed) = (if every_step { every_step_of(model)? } else { model.plan()? }, context.settings().seed);
    let request = Request { guidance, class, stages, ..Request::new(&plan, n, seed) };
    model.sample(request, &mut |done, total| context.progress(done as u64, total as u64))
}

/// The way from noise through every noise level. It is not the configuration's to say, or the same network would be
/// trained again for it.
pub(super) fn every_step_of(model: &LoadedModel) -> Result<SamplePlan> {
    let mut config = model.config().clone();
    config.sample.steps = 0;
    config.sample_plan()
}

/// Bits per dimension of a model on a data set.
pub(super) fn likelihood(
    context: &mut Context,
    model: &mut LoadedModel,
    dataset: &Dataset,
    [images, steps]: [usize; 2],
) -> Result<Nll> {
    let options = NllOptions { images, steps, seed: context.settings().seed };
    nll(model, dataset, options, &mut |done, total| context.progress(done, total))
}

/// The data of a configuration, train or test.
pub(super) fn dataset(config: &Config, split: Split) -> Result<Dataset> {
    data::open(&config.data.source, split, &config.data.options(&config.model))
}

/// Judges images: a classifier of the training data, and the features of those data.
pub(super) struct Judge {
    classifier: Classifier,
    dims: usize,
    grey: Moments,
    binarised: Moments,
    /// Distances between the halves of the training data: what a perfect model could reach.
    pub topline: [f64; 2],
}

/// What a judge says of images.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    /// Fréchet distance of the classifier's features from those of the training data.
    pub frechet: f64,
    /// The same with both sets thresholded at mid-grey.
    pub frechet_binarised: f64,
    /// Share of images of some class with a probability above 0.9.
    pub valid: f64,
    /// Share of images that look like the class they should.
    pub as_asked: Option<f64>,
    /// Variance of the features within a class.
    pub diversity: f64,
}

impl Judge {
    /// The judge of a configuration's data, which are `need`. The classifier is trained if it was not before.
    pub fn new(context: &mut Context, config: &Config, need: Need) -> Result<Judge> {
        context.note(&format!("a classifier of {}", need.word()));
        let [train, test] = [dataset(config, Split::Train)?, dataset(config, Split::Test)?];
        let cache = context.settings().out.join("classifiers");
        let device = context.device()?;
        let mut progress = |done, total| context.progress(done, total);
        let mut classifier = Classifier::train_or_load(device, &train, &test, &cache, &mut progress)?;
        let of = |classifier: &mut Classifier, binary: bool, part: usize| -> Result<Predictions> {
            let indices: Vec<usize> = (part..train.len()).step_by(2).collect();
            let mut images = vec![0.0; indices.len() * train.image_dims().iter().product::<usize>()];
            train.fill_batch(&indices, &vec![false; indices.len()], &mut images);
            if binary {
                binarise(&mut images);
            }
            classifier.evaluate(&images)
        };
        let mut both = |binary: bool| -> Result<(Moments, usize, f64)> {
            let [mut all, odd] = [of(&mut classifier, binary, 0)?, of(&mut classifier, binary, 1)?];
            let dims = all.features().len() / all.len();
            let halves = [Moments::of(all.features(), dims)?, Moments::of(odd.features(), dims)?];
            let distance = frechet_distance(&halves[0], &halves[1])?;
            all.append(&odd);
            Ok((Moments::of(all.features(), dims)?, dims, distance))
        };
        let (grey, dims, topline) = both(false)?;
        let (binarised, _, topline_binarised) = both(true)?;
        Ok(Judge { classifier, dims, grey, binarised, topline: [topline, topline_binarised] })
    }

    /// Accuracy of the classifier on the test data.
    pub fn accuracy(&self) -> f64 {
        self.classifier.test_accuracy()
    }

    /// Judges samples; `classes` are those that were asked for, taking turns.
    pub fn judge(&mut self, samples: &Samples, classes: Option<usize>) -> Result<Judgement> {
        let mut images = samples.images.clone();
        images.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
        let said = self.classifier.evaluate(&images)?;
        binarise(&mut images);
        let said_binarised = self.classifier.evaluate(&images)?;
        let asked: Option<Vec<usize>> = classes.map(|k| (0..said.len()).map(|i| i % k).collect());
        let looks_like = said.classes();
        Ok(Judgement {
            frechet: frechet_distance(&self.grey, &Moments::of(said.features(), self.dims)?)?,
            frechet_binarised: frechet_distance(&self.binarised, &Moments::of(said_binarised.features(), self.dims)?)?,
            valid: said.valid_share(),
            as_asked: asked.as_ref().map(|asked| said.accuracy(asked)),
            diversity: said.diversity(asked.as_ref().unwrap_or(&looks_like)),
        })
    }
}

/// Black and white at mid-grey.
pub(super) fn binarise(images: &mut [f32]) {
    images.iter_mut().for_each(|v| *v = if *v > 0.0 { 1.0 } else { -1.0 });
}
