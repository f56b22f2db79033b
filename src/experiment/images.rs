//! Trained models of images: opening them, drawing from them, and their likelihood.

use super::context::Context;
use crate::data::{self, Dataset, Split};
use crate::eval::nll::{Nll, NllOptions, nll};
use crate::sample::{Request, Samples};
use crate::train::{Config, LoadedModel, ModelFile, Which};
use anyhow::{Context as _, Result};
use std::path::Path;

/// Samples to draw from a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw<'a> {
    /// Number of images.
    pub n: usize,
    /// Strength of the guidance.
    pub guidance: f64,
    /// The class of all of them, or the number of classes for none; without it the classes take turns.
    pub class: Option<usize>,
    /// After how many steps stages are kept; empty: evenly spread.
    pub stages: &'a [usize],
}

/// Loads the trained network of `config` onto the device. It samples by `config.sample`.
pub(super) fn load(context: &mut Context, config: &Config) -> Result<LoadedModel> {
    let run = context.trained(config)?;
    open(context, run.path(), config)
}

/// Loads a run or a checkpoint of `config`, as [`load`].
pub(super) fn open(context: &Context, path: &Path, config: &Config) -> Result<LoadedModel> {
    let model = model_file(path, config)?;
    LoadedModel::new(&model, context.device()?).with_context(|| format!("loading {}", path.display()))
}

/// A run or a checkpoint of `config`, which samples by `config.sample`.
pub(super) fn model_file(path: &Path, config: &Config) -> Result<ModelFile> {
    let mut model = ModelFile::open(path, &Which::new(config.train.ema_decay == 0.0))?;
    model.config.sample = config.sample.clone();
    Ok(model)
}

/// Draws from a model, with progress.
pub(super) fn draw(context: &mut Context, model: &mut LoadedModel, draw: Draw) -> Result<Samples> {
    let Draw { n, guidance, class, stages } = draw;
    let (plan, seed) = (model.plan()?, context.settings().seed);
    let request = Request { guidance, class, stages, ..Request::new(&plan, n, seed) };
    Ok(model.sample(request, &mut |done, total| context.progress(done as u64, total as u64))?)
}

/// The size of a likelihood's estimate.
#[derive(Clone, Copy, Debug)]
pub(super) struct NllSize {
    /// Test images.
    pub images: usize,
    /// Terms of the bound beside the decoder's.
    pub steps: usize,
}

/// Bits per dimension of a model on a data set.
pub(super) fn likelihood(
    context: &mut Context,
    model: &mut LoadedModel,
    dataset: &Dataset,
    NllSize { images, steps }: NllSize,
) -> Result<Nll> {
    let options = NllOptions { images, steps, seed: context.settings().seed };
    Ok(nll(model, dataset, options, &mut |done, total| context.progress(done, total))?)
}

/// The training or test data of a configuration.
pub(super) fn dataset(config: &Config, split: Split) -> Result<Dataset> {
    let opened = data::open(&config.data.source, split, &config.data.options(&config.model));
    opened.with_context(|| format!("opening {}", config.data.source))
}

/// Images `[n, h, w, c]` at `indices` of a data set, not mirrored.
pub(super) fn images_at(dataset: &Dataset, indices: &[usize]) -> Result<Vec<f32>> {
    let mut images = vec![0.0; indices.len() * dataset.image_dims().iter().product::<usize>()];
    dataset.fill_batch(indices, &vec![false; indices.len()], &mut images)?;
    Ok(images)
}
