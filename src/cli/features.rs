//! The networks whose features describe images: our own classifier of the data, and Inception.

use super::terminal::bar;
use crate::data::{self, DataOptions, Dataset, Split};
use crate::engine::device::Device;
use crate::eval::distances::Distances;
use crate::eval::inception::Inception;
use crate::eval::{Classifier, Features};
use crate::train::Config;
use crate::train::evaluation::Evaluator;
use crate::{Error, Result, SampleKind};
use std::env;
use std::path::{Path, PathBuf};

/// Images that Inception looks at together.
pub const INCEPTION_BATCH: usize = 8;

/// The classifier of a data set that was opened from `source`, trained now or earlier.
///
/// # Errors
/// Data that cannot be classified, a folder that cannot be written, or a failure of the device.
pub fn classifier(
    device: Device,
    train: &Dataset,
    (source, options): (&str, &DataOptions),
    cache: &Path,
) -> Result<Classifier> {
    let (held_in, test) = match data::open(source, Split::Test, options) {
        Err(error) if data::lacks_split(&error) => {
            let [train, test] = data::hold_out(train);
            (Some(train), test)
        }
        test => (None, test?),
    };
    let bar = bar("updates of the classifier");
    let train = held_in.as_ref().unwrap_or(train);
    let classifier = Classifier::train_or_load(device, train, &test, cache, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    classifier
}

/// The folder where trained classifiers are kept.
///
/// # Errors
/// A user without one.
pub fn default_cache() -> Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("ddpm")).ok_or_else(|| {
        Error::Config("no place to keep the classifier: set XDG_CACHE_HOME or HOME, or give eval a --cache".into())
    })
}

/// Prepares the measurements of samples while a configuration is trained.
///
/// # Errors
/// Images that no network here can describe, or weights that cannot be read.
pub fn evaluator(config: &Config, dataset: &Dataset, device: &str) -> Result<Box<dyn Evaluator>> {
    if SampleKind::of(dataset.image_dims()) == SampleKind::Points {
        return Ok(Box::new(Distances::of_points(dataset)?));
    }
    let open = || Device::open(device).map(|(device, _)| device);
    let weights = &config.train.evaluate_inception;
    let mut networks: Vec<Box<dyn Features>> = Vec::new();
    if !weights.is_empty() {
        let named = |e: Error| Error::Config(format!("train.evaluate_inception: {e}"));
        networks.push(Box::new(Inception::open(Path::new(weights), open()?, INCEPTION_BATCH).map_err(named)?));
    }
    let options = config.data.options(&config.model);
    match classifier(open()?, dataset, (&config.data.source, &options), &default_cache()?) {
        Ok(classifier) => networks.push(Box::new(classifier)),
        // Labels are no must where Inception looks at the images.
        Err(Error::Config(_)) if !networks.is_empty() => {}
        Err(Error::Config(reason)) => {
            return Err(Error::Config(format!(
                "train.evaluate_every: {reason}; train.evaluate_inception = \"FILE\", the weights of Inception-v3, \
                 measures images without labels"
            )));
        }
        Err(error) => return Err(error),
    }
    let bar = bar("images of the data looked at");
    let distances = Distances::of_images(dataset, networks, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    Ok(Box::new(distances?))
}
