//! A trained network on a device, ready to sample and to be asked.

use super::config::Config;
use super::model_file::ModelFile;
use crate::Result;
use crate::diffusion::{Process, SamplePlan};
use crate::engine::device::Device;
use crate::engine::ops::philox::RngState;
use crate::engine::tape::{Backend, Session};
use crate::engine::tensor::{DType, Store};
use crate::nn::Weights;
use crate::probe::{Answers, Probe, ProbePoint};
use crate::sample::{ImageSampler, Request, Samples, chunk_images};

/// A trained network on a device, ready to sample and to be asked.
pub struct LoadedModel {
    config: Config,
    process: Process,
    session: Session,
    sampler: ImageSampler,
    probe: Probe,
}

impl LoadedModel {
    /// Puts a model on a device. Whether its samples are guided, and by how much at most once, is for `config.sample`
    /// to say.
    ///
    /// # Errors
    /// An impossible configuration, or a device with too little memory.
    pub fn new(model: &ModelFile, device: Device) -> Result<LoadedModel> {
        let config = &model.config;
        config.sample.check_guidance(config.model.classes())?;
        let (backend, mut store) = (device.backend(), Store::new());
        let dtype = if backend == Backend::Cpu { DType::F32 } else { DType::Bf16 };
        let chunk = chunk_images(backend, config.model.sample_len());
        let weights = Weights::reserve(&mut store, &model.params, dtype, false);
        let guided = config.sample.guidance != 0.0;
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, dtype, chunk, guided);
        let mut probe = Probe::reserve(&mut store, &config.model, chunk);
        let mut session = Session::new(device, &store)?;
        weights.write(&mut session, &model.values)?;
        sampler.load(&mut session, &model.network, &weights)?;
        probe.load(&mut session, &model.network, &weights, dtype)?;
        Ok(LoadedModel { process: config.diffusion.process()?, config: config.clone(), session, sampler, probe })
    }

    /// The configuration that it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its forward process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The way from noise to samples that its configuration describes.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn plan(&self) -> Result<SamplePlan> {
        self.config.sample_plan()
    }

    /// Draws samples as its configuration says.
    ///
    /// # Errors
    /// As [`ImageSampler::draw`].
    pub fn sample(&mut self, request: Request, progress: &mut dyn FnMut(usize, usize)) -> Result<Samples> {
        self.sampler.draw(&mut self.session, request, progress)
    }

    /// Samples that [`LoadedModel::ask`] takes at a time.
    pub fn chunk(&self) -> usize {
        self.probe.chunk()
    }

    /// Asks the network about samples at times of the process, each its own: see [`Probe::ask`].
    ///
    /// # Errors
    /// What the device reports.
    pub fn ask(&mut self, samples: &[f32], times: &[f64], labels: &[i32], rng: RngState) -> Result<Answers> {
        let points: Vec<ProbePoint> = times.iter().map(|&t| ProbePoint::new(&self.process, t)).collect();
        self.probe.ask(&mut self.session, samples, &points, labels, rng)
    }
}
