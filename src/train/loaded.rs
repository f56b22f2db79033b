//! A trained network on a device, ready to sample and to be evaluated.

use super::config::Config;
use super::model_file::ModelFile;
use crate::Result;
use crate::diffusion::inpainting::Walk;
use crate::diffusion::{Process, SamplePlan};
use crate::engine::device::Device;
use crate::engine::ops::sampler_step::StepNoise;
use crate::engine::random::RngState;
use crate::engine::tape::{Backend, Session};
use crate::engine::tensor::{DType, Store};
use crate::nn::Weights;
use crate::probe::{Answers, Probe, ProbePoint};
use crate::sample::{GuidingClassifier, ImageSampler, Known, Request, Samples, chunk_images};

/// A trained network on a device, ready to sample and to be evaluated.
pub struct LoadedModel {
    config: Config,
    process: Process,
    session: Session,
    sampler: ImageSampler,
    probe: Probe,
}

impl LoadedModel {
    /// Puts a model on a device. Its samples are guided if `config.sample` has a guidance.
    ///
    /// # Errors
    /// An impossible configuration, or a device with too little memory.
    pub fn new(model: &ModelFile, device: Device) -> Result<LoadedModel> {
        LoadedModel::reserve(model, device, StepNoise::OfEach, None)
    }

    /// As [`LoadedModel::new`], beside a classifier that guides the samples of requests which say so.
    ///
    /// # Errors
    /// As there.
    pub fn with_classifier(model: &ModelFile, device: Device, classifier: &GuidingClassifier) -> Result<LoadedModel> {
        LoadedModel::reserve(model, device, StepNoise::OfEach, Some(classifier))
    }

    /// As [`LoadedModel::new`], with this noise in the steps of the sampler.
    ///
    /// # Errors
    /// As there.
    pub fn with_noise(model: &ModelFile, device: Device, noise: StepNoise) -> Result<LoadedModel> {
        LoadedModel::reserve(model, device, noise, None)
    }

    fn reserve(
        model: &ModelFile,
        device: Device,
        noise: StepNoise,
        classifier: Option<&GuidingClassifier>,
    ) -> Result<LoadedModel> {
        let config = &model.config;
        config.sample.check_guidance(&config.model)?;
        let (backend, mut store) = (device.backend(), Store::new());
        let dtype = if backend == Backend::Cpu { DType::F32 } else { DType::Bf16 };
        let chunk = chunk_images(backend, config.model.sample_len());
        let weights = Weights::reserve(&mut store, &model.params, dtype, false);
        let guided = config.sample.guidance != 0.0;
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, dtype, chunk, guided).with_noise(noise);
        if let Some(classifier) = classifier {
            sampler = sampler.with_classifier(&mut store, classifier);
        }
        let mut probe = Probe::reserve(&mut store, &config.model, chunk);
        let mut session = Session::new(device, &store)?;
        weights.write(&mut session, &model.values)?;
        sampler.load(&model.network, &weights);
        if let Some(classifier) = classifier {
            sampler.load_classifier(&mut session, &classifier.values)?;
        }
        probe.load(&model.network, &weights, dtype);
        Ok(LoadedModel { process: config.diffusion.process()?, config: config.clone(), session, sampler, probe })
    }

    /// The configuration of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device in words.
    pub fn device_name(&self) -> String {
        self.session.device_name()
    }

    /// Bytes of weights and inputs, and bytes of activations so far: together the peak.
    pub fn memory_bytes(&self) -> (u64, u64) {
        self.session.memory_bytes()
    }

    /// The forward process of the model.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Plans the way from noise to samples that the configuration describes.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn plan(&self) -> Result<SamplePlan> {
        self.config.sample_plan()
    }

    /// Draws samples.
    ///
    /// # Errors
    /// As [`ImageSampler::draw`].
    pub fn sample(&mut self, request: Request, progress: &mut dyn FnMut(usize, usize)) -> Result<Samples> {
        self.sampler.draw(&mut self.session, request, progress)
    }

    /// Draws what is not known of an image.
    ///
    /// # Errors
    /// As [`ImageSampler::inpaint`].
    pub fn inpaint(
        &mut self,
        request: Request,
        known: (Known, &Walk),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Samples> {
        self.sampler.inpaint(&mut self.session, request, known, progress)
    }

    /// Most samples that [`LoadedModel::ask`] takes at a time.
    pub fn chunk(&self) -> usize {
        self.probe.chunk()
    }

    /// Runs the network on noised samples, each at its own time: see [`Probe::ask`].
    ///
    /// # Errors
    /// A failure of the device.
    pub fn ask(&mut self, samples: &[f32], times: &[f64], labels: &[i32], rng: RngState) -> Result<Answers> {
        let points: Vec<ProbePoint> = times.iter().map(|&t| ProbePoint::new(&self.process, t)).collect();
        self.probe.ask(&mut self.session, samples, &points, labels, rng)
    }
}
