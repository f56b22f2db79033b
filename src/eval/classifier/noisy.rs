//! A classifier of noisy samples, `ln p(class | z_t)` at all times of a process, by whose gradient samples are guided
//! ([`sample`](crate::sample)). It belongs to the process that it was trained with, and is a file.

use super::identity::{ClassifierConfig, check_data};
use super::training::{Training, add_noise};
use crate::data::Dataset;
use crate::diffusion::timesteps::Spacing;
use crate::diffusion::{NoiseSchedule, Process};
use crate::engine::device::Device;
use crate::engine::random::RngState;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::files::write_whole;
use crate::nn::tensor_file::{self, TensorFile};
use crate::nn::{Classifier, Forward, ParamSet, Weights};
use crate::sample::GuidingClassifier;
use crate::train::random::initial_weights;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The metadata entry of a file.
const KEY: &str = "ddpm-noisy-classifier";
/// Values of the time's embedding.
const TIME_DIM: usize = 64;
/// Noise levels at which the accuracy is measured, evenly spread over the times.
const LEVELS: usize = 5;
/// Samples that are classified together.
const CHUNK: usize = 64;

/// The metadata of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    config: ClassifierConfig,
    dims: [usize; 3],
    class_names: Vec<String>,
    schedule: NoiseSchedule,
    accuracy: Vec<Accuracy>,
}

/// The share of test samples that are recognised at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The time of the process.
    pub time: f64,
    /// Share of the test samples.
    pub share: f64,
}

/// A classifier of noisy samples: `ln p(class | z_t)` at all noise levels, whose gradient guides samples to a class.
pub struct NoisyClassifier {
    header: Header,
    network: Arc<Classifier>,
    params: ParamSet,
    values: Vec<f32>,
}

impl ClassifierConfig {
    /// The settings for noisy samples of these dimensions. Fewer of them are recognised, and later, than clean ones.
    pub fn for_noisy(dims: [usize; 3]) -> ClassifierConfig {
        let clean = ClassifierConfig::for_images(dims[2]);
        match dims {
            [1, 1, _] => ClassifierConfig { features: 128, epochs: 10, batch_size: 256, flip: false, ..clean },
            [_, _, 1] => ClassifierConfig { channels: 32, most_channels: 128, features: 128, epochs: 10, ..clean },
            _ => ClassifierConfig { channels: 64, most_channels: 256, features: 256, epochs: 20, ..clean },
        }
    }
}

impl NoisyClassifier {
    /// Trains a classifier of the samples of a process. `progress` receives the batches that are done, learnt from and then
    /// tested, and their total.
    ///
    /// # Errors
    /// Data without labels, of fewer than two classes or too small; test data of other classes; or what the device
    /// reports.
    pub fn train(
        config: &ClassifierConfig,
        schedule: &NoiseSchedule,
        device: Device,
        [train, test]: [&Dataset; 2],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<NoisyClassifier> {
        check_data(train, test)?;
        if config.epochs == 0 || config.batch_size == 0 {
            let message = format!("classifier: {} epochs in batches of {}", config.epochs, config.batch_size);
            return Err(Error::Config(message));
        }
        let header = Header {
            config: config.clone(),
            dims: train.image_dims(),
            class_names: train.class_names().to_vec(),
            schedule: schedule.clone(),
            accuracy: Vec::new(),
        };
        let process = schedule.process()?;
        let (network, params) = layers(&header)?;
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, true);
        let training = Training::reserve(&mut store, config, header.dims, &params);
        let [h, w, c] = header.dims;
        let (z, time) = (store.tensor(&[CHUNK, h, w, c], DType::F32), store.tensor(&[CHUNK], DType::F32));
        let mut session = Session::new(device, &store)?;
        weights.write(&mut session, &initial_weights(&params, config.seed))?;
        let times = process.sampling_times(LEVELS, Spacing::Linspace)?;
        let tests = (times.len() * test.len().div_ceil(CHUNK)) as u64;
        let mut done = 0;
        let of_training = &mut |updates, total: u64| {
            done = total;
            progress(updates, total + tests);
        };
        training.run(&mut session, (&network, &weights), (train, Some(&process)), config, of_training)?;
        let values = session.read(weights.values)?;
        let mut tape = Tape::new(session.backend(), DType::F32);
        let constant = weights.without_gradients();
        let [_, logits] = network.forward(&mut Forward::evaluate(&mut tape, &constant), z, Some(time));
        tape.keep(logits);
        let program = session.load(tape)?;
        let mut answers = Answers { session, program, z, time, logits };
        let total = done + tests;
        let mut tested = || {
            done += 1;
            progress(done, total);
        };
        let accuracy = times.into_iter().map(|time| {
            let share = answers.right(test, (&process, time), config.seed, &mut tested)?;
            Ok(Accuracy { time, share })
        });
        let header = Header { accuracy: accuracy.collect::<Result<_>>()?, ..header };
        Ok(NoisyClassifier { header, network: Arc::new(network), params, values })
    }

    /// The classifier of these settings from a file, if it holds that, else trained and written there.
    ///
    /// # Errors
    /// As [`NoisyClassifier::train`], and a file that cannot be written.
    pub fn train_or_load(
        config: &ClassifierConfig,
        schedule: &NoiseSchedule,
        device: Device,
        data: [&Dataset; 2],
        path: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<NoisyClassifier> {
        let is_same = |found: &NoisyClassifier| {
            let Header { config: own, dims, class_names, schedule: of_file, .. } = &found.header;
            own == config
                && *dims == data[0].image_dims()
                && class_names == data[0].class_names()
                && of_file == schedule
        };
        if let Some(found) = NoisyClassifier::open(path).ok().filter(is_same) {
            return Ok(found);
        }
        let trained = NoisyClassifier::train(config, schedule, device, data, progress)?;
        trained.save(path)?;
        Ok(trained)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that is missing, damaged or something else.
    pub fn open(path: &Path) -> Result<NoisyClassifier> {
        let file = TensorFile::open(path)?;
        let no_classifier = "no classifier of noisy samples; `ddpm classifier RUN` trains one";
        let header = file.metadata(KEY).ok_or_else(|| Error::format(path, no_classifier))?;
        let header: Header = serde_json::from_str(header).map_err(|e| Error::format(path, e.to_string()))?;
        let (network, params) = layers(&header).map_err(|e| Error::format(path, e.to_string()))?;
        let values = params.from_files(|name, dims| file.read(name, dims))?;
        Ok(NoisyClassifier { header, network: Arc::new(network), params, values })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = serde_json::to_string(&self.header).expect("plain data");
        write_whole(path, |out| tensor_file::write(out, &self.params.to_files(&self.values), (KEY, &header)))
    }

    /// The classes, in the order of the logits.
    pub fn class_names(&self) -> &[String] {
        &self.header.class_names
    }

    /// Accuracy on test samples at some times, ascending.
    pub fn accuracy(&self) -> &[Accuracy] {
        &self.header.accuracy
    }

    /// The network, to guide samples of this size on their way along this process.
    ///
    /// # Errors
    /// Samples of another size, or a process of other noise levels.
    pub fn guide(&self, dims: [usize; 3], process: &Process) -> Result<GuidingClassifier> {
        if dims != self.header.dims {
            let own = self.header.dims;
            return Err(Error::Config(format!("the classifier knows samples of {own:?}, the model draws {dims:?}")));
        }
        if !is_alike(&self.header.schedule.process()?, process) {
            return Err(Error::Config(
                "the classifier was trained at other noise levels than the model's; `ddpm classifier RUN` trains one"
                    .into(),
            ));
        }
        Ok(GuidingClassifier {
            network: self.network.clone(),
            params: self.params.clone(),
            values: self.values.clone(),
            classes: self.header.class_names.len(),
        })
    }
}

/// A classifier on a device that classifies [`CHUNK`] samples at a time.
struct Answers {
    session: Session,
    program: Program,
    z: Tensor,
    time: Tensor,
    logits: Tensor,
}

impl Answers {
    /// Share of a labelled data set that is recognised at a time of a process, with noise of this seed. `tested` is called
    /// after every chunk.
    fn right(
        &mut self,
        test: &Dataset,
        (process, t): (&Process, f64),
        seed: u64,
        tested: &mut dyn FnMut(),
    ) -> Result<f64> {
        let (labels, all) = (test.labels().unwrap_or_default(), (0..test.len()).collect::<Vec<usize>>());
        let mut right = 0;
        for indices in all.chunks(CHUNK) {
            let mut samples = vec![0.0; indices.len() * self.z.numel() / CHUNK];
            test.fill_batch(indices, &vec![false; indices.len()], &mut samples)?;
            samples.resize(self.z.numel(), 0.0);
            let state = RngState { seed, step: u32::MAX, first_image: indices[0] as u32 };
            let network_time = add_noise(&mut samples, process, &[t; CHUNK], state);
            self.session.write(self.z, &samples)?;
            self.session.write(self.time, &network_time)?;
            self.session.run(&mut self.program)?;
            let logits = self.session.read_in(&self.program, self.logits)?;
            let most = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a class");
            let rows = logits.chunks_exact(self.logits.dim(1)).zip(indices);
            right += rows.filter(|(row, i)| most(row) == labels[**i] as usize).count();
            tested();
        }
        Ok(right as f64 / all.len() as f64)
    }
}

fn layers(header: &Header) -> Result<(Classifier, ParamSet)> {
    let mut params = ParamSet::default();
    let shape = header.config.shape(header.dims, header.class_names.len(), TIME_DIM);
    Ok((Classifier::new(&mut params, &shape)?, params))
}

/// True if two processes have the same noise levels at the same times of the network.
fn is_alike(a: &Process, b: &Process) -> bool {
    let at = |process: &Process, share: f64| {
        let t = match process {
            Process::Discrete(_) => (share * process.last_time()).round(),
            Process::Continuous { .. } => share,
        };
        let level = process.level(t);
        [process.network_time(t), level.a, level.sigma]
    };
    let differs = |[x, y]: [f64; 2]| (x - y).abs() > 1e-6 * x.abs().max(1.0);
    (0..=64).all(|k| {
        let [a, b] = [a, b].map(|process| at(process, k as f64 / 64.0));
        !a.into_iter().zip(b).any(|(x, y)| differs([x, y]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::points::{CLUSTER_STD, PointSet};
    use crate::data::{self, DataOptions, Split};
    use crate::engine::ops::cross_entropy::cross_entropy;
    use crate::train::Config;

    fn clusters() -> [Dataset; 2] {
        [Split::Train, Split::Test].map(|split| data::open("clusters", split, &DataOptions::default()).unwrap())
    }

    fn schedule(name: &str) -> NoiseSchedule {
        let setting = format!("diffusion.schedule={name}");
        Config::default().with_settings(&[setting]).unwrap().diffusion.schedule
    }

    fn trained(epochs: u64) -> NoisyClassifier {
        let [train, test] = clusters();
        let config = ClassifierConfig { epochs, ..ClassifierConfig::for_noisy([1, 1, 2]) };
        NoisyClassifier::train(&config, &schedule("linear"), Device::Cpu, [&train, &test], &mut |_, _| {}).unwrap()
    }

    /// The gradients of `ln p(class | z_t)` by points `z [n][2]` of these classes.
    fn gradients(classifier: &NoisyClassifier, z: &[f32], classes: &[i32], network_time: f64) -> Vec<f32> {
        let (n, mut store) = (classes.len(), Store::new());
        let weights = Weights::reserve(&mut store, &classifier.params, DType::F32, false);
        let (points, time) = (store.tensor(&[n, 1, 1, 2], DType::F32), store.tensor(&[n], DType::F32));
        let labels = store.tensor(&[n], DType::I32);
        let mut session = Session::new(Device::Cpu, &store).unwrap();
        weights.write(&mut session, &classifier.values).unwrap();
        let mut tape = Tape::new(session.backend(), DType::F32);
        tape.watch(points);
        let [_, logits] = classifier.network.forward(&mut Forward::evaluate(&mut tape, &weights), points, Some(time));
        let dlogits = cross_entropy(&mut tape, logits, labels).dlogits;
        let dz = tape.pull_back(points, logits, dlogits);
        let mut program = session.load(tape).unwrap();
        session.write(points, z).unwrap();
        session.write_i32(labels, classes).unwrap();
        session.write(time, &vec![network_time as f32; n]).unwrap();
        session.run(&mut program).unwrap();
        session.read_in(&program, dz).unwrap().iter().map(|dz| -(n as f32) * dz).collect()
    }

    /// `ln p(class | z_t)` of four normal clusters is known at every noise level. The learned one has its gradient but
    /// for a quarter to a third, most of it far in the other classes, where the cross-entropy asks for little.
    #[test]
    fn the_gradient_of_a_trained_classifier_is_that_of_bayes_rule() {
        let (classifier, process) = (trained(10), schedule("linear").process().unwrap());
        let [_, test] = clusters();
        let n = 500;
        let points = &test.points().unwrap()[..2 * n];
        let corner = 1.0 / (1.0 + CLUSTER_STD * CLUSTER_STD).sqrt();
        let standard_deviation = CLUSTER_STD * corner;
        for t in [300.0, 350.0, 450.0] {
            let level = process.level(t);
            let variance = (level.a * standard_deviation).powi(2) + level.sigma.powi(2);
            let mut z = points.to_vec();
            let state = RngState { seed: 1, step: 0, first_image: 0 };
            let network_time = add_noise(&mut z, &process, &vec![t; n], state)[0];
            let classes: Vec<i32> = (0..n as i32).map(|i| i % 4).collect();
            let found = gradients(&classifier, &z, &classes, network_time.into());
            let (mut error, mut size) = (0.0, 0.0);
            for (i, found) in found.iter().enumerate() {
                // Along each axis two equally likely means: the derivative of the logarithm of a logistic function.
                let mean = level.a * corner * if classes[i / 2] >> (i % 2) & 1 == 0 { -1.0 } else { 1.0 };
                let slope = 2.0 * mean / variance;
                let want = slope / (1.0 + (slope * f64::from(z[i])).exp());
                error += (f64::from(*found) - want).powi(2);
                size += want.powi(2);
            }
            let relative = (error / size).sqrt();
            println!("t = {t}: the gradient is off by {relative:.3}");
            assert!(relative <= 0.4, "t = {t}: the gradient is off by {relative}");
        }
        let share = |i: usize| classifier.accuracy()[i].share;
        assert!(share(0) >= 0.99 && share(4) <= 0.35, "{:?}", classifier.accuracy());
        assert_eq!(PointSet::Clusters.class_names(), classifier.class_names());
    }

    #[test]
    fn a_file_holds_all_of_it_and_guides_only_what_it_was_trained_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("classifier.safetensors");
        let classifier = trained(1);
        classifier.save(&path).unwrap();
        let opened = NoisyClassifier::open(&path).unwrap();
        assert_eq!((opened.accuracy(), opened.class_names()), (classifier.accuracy(), classifier.class_names()));
        let guide = opened.guide([1, 1, 2], &schedule("linear").process().unwrap()).unwrap();
        assert!(guide.values == classifier.values && guide.classes == 4);
        assert!(trained(1).values == classifier.values, "equal seeds, equal weights");

        let refused = |dims, name: &str| {
            let result = opened.guide(dims, &schedule(name).process().unwrap());
            result.err().expect("refused").to_string()
        };
        assert!(refused([8, 8, 1], "linear").contains("[1, 1, 2]"));
        for other in ["cosine", "scaled-linear", "vp-cosine"] {
            assert!(refused([1, 1, 2], other).contains("other noise levels"), "{other}");
        }
        let (mut batches, mut last) = (0, [0; 2]);
        let mut again = |epochs, name| {
            let [train, test] = clusters();
            let config = ClassifierConfig { epochs, ..ClassifierConfig::for_noisy([1, 1, 2]) };
            let progress = &mut |done, total| (batches, last) = (batches + 1, [done, total]);
            let (schedule, data) = (schedule(name), [&train, &test]);
            NoisyClassifier::train_or_load(&config, &schedule, Device::Cpu, data, &path, progress).unwrap().values
        };
        assert!(again(1, "linear") == classifier.values, "it is read, not trained");
        assert!(again(1, "cosine") != classifier.values, "it is of other noise levels");
        assert!(again(2, "cosine") != classifier.values);
        // And a test at five noise levels.
        let all = |epochs: u64| (epochs * 40_000).div_ceil(256) + 5 * 10_000u64.div_ceil(64);
        assert_eq!((batches, last), (all(1) + all(2), [all(2); 2]));
        std::fs::write(&path, b"something else").unwrap();
        assert!(NoisyClassifier::open(&path).is_err());
    }
}
