//! A small classifier of the training data. It predicts the classes of samples, and its features serve to compare
//! distributions where the Inception network is missing or little informative, as for digits.
//!
//! Its layers are those of [`nn::Classifier`]. It is trained once per data set, by this program's own engine, and kept as a
//! file; equal seeds give equal weights.

mod identity;
mod noisy;
mod training;

pub use identity::ClassifierConfig;
pub use noisy::NoisyClassifier;

use super::features::Features;
use super::predictions::Predictions;
use crate::data::Dataset;
use crate::engine::device::Device;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::files::write_whole;
use crate::nn::tensor_file::{self, TensorFile};
use crate::nn::{self, Forward, ParamSet, Weights};
use crate::train::random::initial_weights;
use crate::{Error, Result};
use identity::Identity;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use training::Training;

/// Images that are evaluated together.
const CHUNK_IMAGES: usize = 100;
/// The metadata entry of a classifier's file.
const KEY: &str = "ddpm-classifier";

/// The metadata of a classifier's file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    identity: Identity,
    test_accuracy: f64,
}

/// See the [module](self) documentation.
pub struct Classifier {
    class_names: Vec<String>,
    test_accuracy: f64,
    session: Session,
    program: Program,
    images: Tensor,
    features: Tensor,
    logits: Tensor,
}

impl Classifier {
    /// The classifier of `train`, from the folder `cache` if it was trained before. `progress` receives the
    /// number of updates that are done, and their total.
    ///
    /// # Errors
    /// Data without labels, of fewer than two classes or too small; test data of other classes; a folder that cannot be
    /// written; or what the device reports.
    pub fn train_or_load(
        device: Device,
        train: &Dataset,
        test: &Dataset,
        cache: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Classifier> {
        let config = ClassifierConfig::for_images(train.image_dims()[2]);
        Classifier::train_or_load_as(&config, device, [train, test], cache, progress)
    }

    /// [`Classifier::train_or_load`] with another configuration.
    ///
    /// # Errors
    /// The same.
    pub fn train_or_load_as(
        config: &ClassifierConfig,
        device: Device,
        [train, test]: [&Dataset; 2],
        cache: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Classifier> {
        let identity = Identity::new(config, train, test)?;
        fs::create_dir_all(cache).map_err(Error::io(cache))?;
        let mut params = ParamSet::default();
        let network = nn::Classifier::new(&mut params, &identity.shape())?;
        let path = cache.join(identity.file_name());
        let cached = read(&path, &identity, &params);

        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, cached.is_none());
        let [h, w, c] = identity.image_dims;
        let images = store.tensor(&[CHUNK_IMAGES, h, w, c], DType::F32);
        let training = cached.is_none().then(|| Training::reserve(&mut store, config, identity.image_dims, &params));
        let mut session = Session::new(device, &store)?;
        let start = cached.as_ref().map_or_else(|| initial_weights(&params, config.seed), |(_, values)| values.clone());
        weights.write(&mut session, &start)?;
        if let Some(training) = training {
            training.run(&mut session, (&network, &weights), (train, None), config, progress)?;
        }

        let constant = weights.without_gradients();
        let mut tape = Tape::new(session.backend(), DType::F32);
        let [features, logits] = network.forward(&mut Forward::evaluate(&mut tape, &constant), images, None);
        tape.keep(features);
        tape.keep(logits);
        let program = session.load(tape)?;
        let class_names = identity.class_names.clone();
        let mut classifier =
            Classifier { class_names, test_accuracy: f64::NAN, session, program, images, features, logits };
        classifier.test_accuracy = match cached {
            Some((accuracy, _)) => accuracy,
            None => {
                let test_accuracy = classifier.accuracy(test)?;
                let values = params.to_files(&classifier.session.read(weights.values)?);
                let header = serde_json::to_string(&Header { identity, test_accuracy }).expect("plain data");
                write_whole(&path, |out| tensor_file::write(out, &values, (KEY, &header)))?;
                test_accuracy
            }
        };
        Ok(classifier)
    }

    /// The classes, in the order of their probabilities.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Accuracy on the test images.
    pub fn test_accuracy(&self) -> f64 {
        self.test_accuracy
    }

    /// Predicts the classes of images `[n, h, w, c]` in [-1, 1] of the training data's size.
    ///
    /// # Errors
    /// A failing device.
    ///
    /// # Panics
    /// If the values do not form images.
    pub fn evaluate(&mut self, images: &[f32]) -> Result<Predictions> {
        let values = self.images.numel() / CHUNK_IMAGES;
        assert!(images.len().is_multiple_of(values), "{} values in images of {values}", images.len());
        let (classes, dims) = (self.class_names.len(), self.features.dim(1));
        let mut predictions = Predictions::new(classes, dims);
        for chunk in images.chunks(CHUNK_IMAGES * values) {
            let mut padded = chunk.to_vec();
            padded.resize(CHUNK_IMAGES * values, 0.0);
            self.session.write(self.images, &padded)?;
            self.session.run(&mut self.program)?;
            let n = chunk.len() / values;
            let features = self.session.read_in(&self.program, self.features)?;
            let logits = self.session.read_in(&self.program, self.logits)?;
            predictions.push(&logits[..n * classes], &features[..n * dims]);
        }
        Ok(predictions)
    }

    /// [`Classifier::evaluate`] of images of any size `[n, h, w, c]`.
    ///
    /// # Errors
    /// Images of another size than it was trained on, or what the device reports.
    pub fn evaluate_sized(&mut self, images: &[f32], dims: [usize; 4]) -> Result<Predictions> {
        let known = &self.images.dims()[1..];
        if dims[1..] != *known {
            return Err(Error::Config(format!("the classifier knows images of {known:?}, not of {:?}", &dims[1..])));
        }
        self.evaluate(images)
    }

    /// Accuracy on a labelled data set.
    fn accuracy(&mut self, dataset: &Dataset) -> Result<f64> {
        let labels = dataset.labels().unwrap_or_default();
        let all: Vec<usize> = (0..dataset.len()).collect();
        let mut right = 0;
        for indices in all.chunks(10 * CHUNK_IMAGES) {
            let mut images = vec![0.0; indices.len() * self.images.numel() / CHUNK_IMAGES];
            dataset.fill_batch(indices, &vec![false; indices.len()], &mut images)?;
            let predicted = self.evaluate(&images)?.classes();
            right += predicted.iter().zip(indices).filter(|&(&class, &i)| class == labels[i] as usize).count();
        }
        Ok(right as f64 / dataset.len() as f64)
    }
}

impl Features for Classifier {
    fn name(&self) -> &'static str {
        "classifier"
    }
    fn dims(&self) -> usize {
        self.features.dim(1)
    }
    fn features(&mut self, images: &[f32], dims: [usize; 4]) -> Result<Vec<f32>> {
        Ok(self.evaluate_sized(images, dims)?.features().to_vec())
    }
}

/// Test accuracy and weights of a classifier's file; none where the file is missing, damaged or another's: it is
/// written anew then.
fn read(path: &Path, identity: &Identity, params: &ParamSet) -> Option<(f64, Vec<f32>)> {
    let file = TensorFile::open(path).ok()?;
    let header: Header = serde_json::from_str(file.metadata(KEY)?).ok()?;
    let values = params.from_files(|name, dims| file.read(name, dims)).ok()?;
    (header.identity == *identity).then_some((header.test_accuracy, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataOptions, Split};

    fn glyphs(split: Split, classes: &[u32]) -> Dataset {
        let options = DataOptions { size: Some([8; 2]), classes: Some(classes.to_vec()), ..DataOptions::default() };
        data::open("glyphs", split, &options).unwrap()
    }

    #[test]
    fn it_learns_to_tell_glyphs_apart_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("new/folder");
        let config = ClassifierConfig { epochs: 1, batch_size: 100, ..ClassifierConfig::for_images(1) };
        let [train, test] = [Split::Train, Split::Test].map(|split| glyphs(split, &[0, 1, 4]));
        let mut updates = 0;
        let mut classifier = |seed: u64| {
            let config = ClassifierConfig { seed, ..config.clone() };
            let progress = &mut |_, _| updates += 1;
            Classifier::train_or_load_as(&config, Device::Cpu, [&train, &test], &cache, progress).unwrap()
        };
        let mut images = vec![0.0; 7 * 64];
        test.fill_batch(&[3, 1, 4, 1, 5, 9, 2], &[false; 7], &mut images).unwrap();
        let mut trained = classifier(0);
        assert!(trained.test_accuracy() >= 0.95, "accuracy {}", trained.test_accuracy());
        let mut loaded = classifier(0);
        assert_eq!(loaded.test_accuracy(), trained.test_accuracy());
        let predicted = trained.evaluate(&images).unwrap();
        assert_eq!(predicted, loaded.evaluate(&images).unwrap());
        assert_eq!(loaded.features(&images, [7, 8, 8, 1]).unwrap(), predicted.features());
        let classes = predicted.classes();
        assert_eq!((predicted.len(), predicted.features().len(), classes[1]), (7, 7 * loaded.dims(), classes[3]));
        assert!(loaded.features(&images, [28, 4, 4, 1]).unwrap_err().to_string().contains("[8, 8, 1]"));

        // A damaged file is written anew, with the same weights.
        let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        classifier(0);
        assert_eq!(fs::read(&file).unwrap(), whole);
        classifier(1);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 2);
        assert_eq!(updates as usize, 3 * train.len().div_ceil(100));
    }

    #[test]
    fn data_that_cannot_be_learnt_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |train: &Dataset, test: &Dataset| {
            let result = Classifier::train_or_load(Device::Cpu, train, test, folder.path(), &mut |_, _| {});
            result.err().expect("refused").to_string()
        };
        let two = glyphs(Split::Test, &[1, 2]);
        let one = glyphs(Split::Test, &[1]);
        assert!(refused(&one, &one).contains("one class only"));
        assert!(refused(&two, &glyphs(Split::Test, &[1, 3])).contains("other classes"));
    }
}
