//! A small classifier of the training data: it says what samples show, and its features are what their distribution is
//! compared by where the Inception network is missing or says little, as of digits.
//!
//! ```text
//! image -> [3x3 convolution, group norm, SiLU, mean of 2x2 pixels] until it is small -> convolution, norm, SiLU
//!       -> linear, SiLU = features -> linear = logits
//! ```
//! It is trained once per data set, by this program's own engine, and kept as a file; equal seeds give equal weights.

mod network;
mod training;

use super::features::Features;
use super::predictions::Predictions;
use crate::data::Dataset;
use crate::engine::device::Device;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::files::write_whole;
use crate::nn::tensor_file::{self, TensorFile};
use crate::nn::{Forward, ParamSet, Weights};
use crate::train::random::initial_weights;
use crate::{Error, Result};
use network::Network;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use training::Training;

/// Images that are evaluated together.
const CHUNK_IMAGES: usize = 100;
/// The metadata entry of a classifier's file.
const KEY: &str = "ddpm-classifier";

/// How a classifier is built and trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierConfig {
    /// Channels of the first convolution; each further one has twice as many.
    pub channels: usize,
    /// But not more than these.
    pub most_channels: usize,
    /// Numbers that describe an image.
    pub features: usize,
    /// Passes over the training data.
    pub epochs: u64,
    /// Images of an update.
    pub batch_size: usize,
    /// Peak learning rate of Adam.
    pub learning_rate: f64,
    /// Whether images are mirrored left to right at random.
    pub flip: bool,
    /// Seed of the initial weights and of the order of the images.
    pub seed: u64,
}

impl ClassifierConfig {
    /// What does well on images of `channels` channels: grey ones are taken for digits, colour ones for photographs.
    pub fn for_images(channels: usize) -> ClassifierConfig {
        let grey = channels == 1;
        ClassifierConfig {
            channels: if grey { 16 } else { 32 },
            most_channels: if grey { 64 } else { 128 },
            features: if grey { 64 } else { 128 },
            epochs: if grey { 2 } else { 6 },
            batch_size: 64,
            learning_rate: 3e-3,
            flip: !grey,
            seed: 0,
        }
    }
}

/// All that a classifier's weights are a function of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    config: ClassifierConfig,
    image_dims: [usize; 3],
    class_names: Vec<String>,
    /// CRC-32C of images and labels of the training and test data.
    data: [u32; 2],
}

/// What a classifier's file says of itself.
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
    /// The classifier of `train`, from the folder `cache` if it was trained before. `progress` is told how many of how
    /// many updates are done.
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
        let (network, params) = Network::new(&identity);
        let path = cache.join(identity.file_name());
        let cached = read(&path, &identity, &params);

        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, cached.is_none());
        let images = identity.images(&mut store, CHUNK_IMAGES);
        let training = cached.is_none().then(|| Training::reserve(&mut store, &identity, &params));
        let mut session = Session::new(device, &store)?;
        let start = cached.as_ref().map_or_else(|| initial_weights(&params, config.seed), |(_, values)| values.clone());
        weights.write(&mut session, &start)?;
        if let Some(training) = training {
            training.run(&mut session, &network, &weights, train, config, progress)?;
        }

        let mut constant = weights.clone();
        constant.gradients = Tensor::EMPTY;
        let mut tape = Tape::new(session.backend(), DType::F32);
        let (features, logits) = network.forward(&mut Forward::evaluate(&mut tape, &constant), images);
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

    /// Share of the test images that it names rightly.
    pub fn test_accuracy(&self) -> f64 {
        self.test_accuracy
    }

    /// Says what images `[n, h, w, c]` in [-1, 1], of the training data's size, show.
    ///
    /// # Errors
    /// What the device reports.
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

    /// Share of a labelled data set that it names rightly.
    fn accuracy(&mut self, dataset: &Dataset) -> Result<f64> {
        let labels = dataset.labels().unwrap_or_default();
        let all: Vec<usize> = (0..dataset.len()).collect();
        let mut right = 0;
        for indices in all.chunks(10 * CHUNK_IMAGES) {
            let mut images = vec![0.0; indices.len() * self.images.numel() / CHUNK_IMAGES];
            dataset.fill_batch(indices, &vec![false; indices.len()], &mut images);
            let said = self.evaluate(&images)?.classes();
            right += said.iter().zip(indices).filter(|&(&class, &i)| class == labels[i] as usize).count();
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

impl Identity {
    fn new(config: &ClassifierConfig, train: &Dataset, test: &Dataset) -> Result<Identity> {
        let image_dims @ [h, w, _] = train.image_dims();
        let class_names = train.class_names().to_vec();
        let name = train.name();
        if class_names.len() < 2 {
            return Err(Error::Config(match train.labels() {
                None => format!("{name} has no labels, so no classifier can be trained on it"),
                Some(_) => format!("{name} has one class only, so there is nothing to classify"),
            }));
        }
        if h.min(w) < 4 {
            return Err(Error::Config(format!(
                "{name}: a classifier needs images of at least 4x4 pixels, not {h}x{w}"
            )));
        }
        if test.image_dims() != image_dims || test.class_names() != class_names {
            return Err(Error::Config(format!("{name}: the test split has other classes than the training split")));
        }
        let data = [train, test].map(|dataset| {
            let pixels = (0..dataset.len()).fold(0, |crc, i| crc32c::crc32c_append(crc, dataset.image_u8(i)));
            crc32c::crc32c_append(pixels, bytemuck::cast_slice(dataset.labels().unwrap_or_default()))
        });
        Ok(Identity { config: config.clone(), image_dims, class_names, data })
    }

    fn file_name(&self) -> String {
        let text = serde_json::to_string(self).expect("plain data");
        format!("classifier-{:08x}.safetensors", crc32c::crc32c(text.as_bytes()))
    }

    /// Reserves a batch of `n` images.
    fn images(&self, store: &mut Store, n: usize) -> Tensor {
        let [h, w, c] = self.image_dims;
        store.tensor(&[n, h, w, c], DType::F32)
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
        let options = DataOptions { size: Some(8), classes: Some(classes.to_vec()), ..DataOptions::default() };
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
        test.fill_batch(&[3, 1, 4, 1, 5, 9, 2], &[false; 7], &mut images);
        let mut trained = classifier(0);
        assert!(trained.test_accuracy() >= 0.95, "accuracy {}", trained.test_accuracy());
        let mut loaded = classifier(0);
        assert_eq!(loaded.test_accuracy(), trained.test_accuracy());
        let said = trained.evaluate(&images).unwrap();
        assert_eq!(said, loaded.evaluate(&images).unwrap());
        assert_eq!(loaded.features(&images, [7, 8, 8, 1]).unwrap(), said.features());
        assert_eq!((said.len(), said.features().len(), said.classes()[1]), (7, 7 * loaded.dims(), said.classes()[3]));
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
