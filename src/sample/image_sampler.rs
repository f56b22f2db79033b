//! The recorded step of a sampler, and the way of samples through it.

use super::request::{Request, Samples, StageView};
use crate::diffusion::{SamplerStep, guidance};
use crate::engine::ops::philox::state_tensor;
use crate::engine::ops::records::SamplerRecord;
use crate::engine::ops::sampler_step::{StepNoise, sampler_step};
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::{Backend, Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, ModelConfig, Network, Weights};
use crate::{Error, Result};
use std::sync::atomic::Ordering;

/// The start of a sample, z_T.
pub(super) const START: Stream = Stream::new(2);

/// Samples of `values` values each that go through the network together.
pub fn chunk_images(backend: Backend, values: usize) -> usize {
    match backend {
        _ if values <= 16 => 4096,
        Backend::Cpu => 16,
        Backend::Gpu(_) => 64,
    }
}

/// Columns of a strip from noise to image.
const STAGES: usize = 10;
/// Rows of it: samples whose way is shown.
const STAGE_IMAGES: usize = 6;

/// The recorded step, and the tensors that it reads.
pub struct ImageSampler {
    /// The samples on their way `[chunk, h, w, c]` f32.
    pub(super) z: Tensor,
    /// Input of the network: `z` in the storage type, twice where guided; `z` itself where that is no different.
    input: Tensor,
    /// The estimate of the clean samples `[chunk, h, w, c]` f32.
    x0: Tensor,
    /// `[chunk]`, or `[2 chunk]` where guided.
    time: Tensor,
    /// Like `time`, where the model is conditional.
    labels: Option<Tensor>,
    coefficients: Tensor,
    rng: Tensor,
    noise: StepNoise,
    classes: usize,
    /// The classes, and no class where the model has a label for it.
    class_rows: usize,
    program: Option<Program>,
}

impl ImageSampler {
    /// Reserves the tensors for chunks of `chunk` images. A guided sampler evaluates the network twice in a step, with
    /// the label and without.
    pub fn reserve(store: &mut Store, model: &ModelConfig, dtype: DType, chunk: usize, guided: bool) -> ImageSampler {
        let [h, w, c] = model.sample_dims();
        let seen = if guided { 2 * chunk } else { chunk };
        let z = store.tensor(&[chunk, h, w, c], DType::F32);
        ImageSampler {
            z,
            input: if dtype == DType::F32 && !guided { z } else { store.tensor(&[seen, h, w, c], dtype) },
            x0: store.tensor(&[chunk, h, w, c], DType::F32),
            time: store.tensor(&[seen], DType::F32),
            labels: (model.classes() > 0).then(|| store.tensor(&[seen], DType::I32)),
            coefficients: store.tensor(&[SamplerRecord::LEN], DType::F32),
            rng: state_tensor(store),
            noise: StepNoise::OfEach,
            classes: model.classes(),
            class_rows: model.class_rows(),
            program: None,
        }
    }

    /// The same sampler, with this noise in its steps: to be said before [`ImageSampler::load`].
    #[must_use]
    pub fn with_noise(self, noise: StepNoise) -> ImageSampler {
        ImageSampler { noise, ..self }
    }

    /// Records the step of a network with these weights.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn load(&mut self, session: &mut Session, network: &Network, weights: &Weights) -> Result<()> {
        let mut weights = weights.clone();
        weights.gradients = Tensor::EMPTY;
        let mut tape = Tape::new(session.backend(), self.input.dtype());
        let out = network.forward(&mut Forward::evaluate(&mut tape, &weights), self.input, self.time, self.labels);
        let next_input = if self.input == self.z { Tensor::EMPTY } else { self.input };
        sampler_step(&mut tape, [self.z, next_input, self.x0], out, self.coefficients, self.rng, self.noise);
        self.program = Some(session.load(tape)?);
        Ok(())
    }

    /// Draws samples; `progress` receives the number of network evaluations that are done, and of all.
    ///
    /// # Errors
    /// A class that the model does not have, samples that are not finite, or a failure of the device.
    ///
    /// # Panics
    /// If no network was loaded.
    pub fn draw(
        &mut self,
        session: &mut Session,
        request: Request,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Samples> {
        self.check_class(request)?;
        let [chunk, h, w, c] = self.dims();
        let (values, steps) = (h * w * c, &request.plan.steps);
        let (chunks, rows) = (request.n.div_ceil(chunk), request.n.min(STAGE_IMAGES).min(chunk));
        let shown = |done: usize| match request.stages {
            [] => done == 0 || is_stage(done, steps.len()),
            stages => stages.contains(&done),
        };
        // The columns of every view.
        let mut columns: Vec<Vec<Vec<f32>>> = vec![Vec::new(); request.views.len()];
        let keep = |columns: &mut Vec<Vec<Vec<f32>>>, view: StageView, values: &[f32]| {
            let kept = columns.iter_mut().zip(request.views).filter(|(_, own)| **own == view);
            kept.for_each(|(columns, _)| columns.push(values.to_vec()));
        };
        let mut images = Vec::with_capacity(chunks * chunk * values);
        for first in (0..chunks).map(|i| i * chunk) {
            self.start(session, request, first)?;
            for done in 0..=steps.len() {
                let is_shown = first == 0 && shown(done);
                if is_shown {
                    let z = &session.read(self.z)?[..rows * values];
                    keep(&mut columns, StageView::Sample, z);
                    if done == steps.len() {
                        keep(&mut columns, StageView::Estimate, z);
                    }
                }
                if request.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return Err(Error::Stopped);
                }
                if let Some(step) = steps.get(done) {
                    self.step(session, request, first, done, step)?;
                    if is_shown && request.views.contains(&StageView::Estimate) {
                        keep(&mut columns, StageView::Estimate, &session.read(self.x0)?[..rows * values]);
                    }
                    progress(first / chunk * steps.len() + done + 1, chunks * steps.len());
                }
            }
            images.extend(session.read(self.z)?);
        }
        let of_row = |row: usize| columns.iter().flatten().flat_map(move |column| &column[row * values..][..values]);
        let stages = (0..rows).flat_map(of_row).copied().collect();
        let samples = Samples::finished(images, [request.n, h, w, c])?;
        Ok(Samples { stages, stage_grid: [rows * columns.len(), columns[0].len()], ..samples })
    }

    pub(super) fn dims(&self) -> [usize; 4] {
        self.z.dims()[..].try_into().expect("images have four dimensions")
    }

    pub(super) fn check_class(&self, request: Request) -> Result<()> {
        match request.class {
            Some(class) if class >= self.class_rows => {
                Err(Error::Config(format!("class {class}: the model knows {} classes", self.classes)))
            }
            _ => Ok(()),
        }
    }

    /// Fills a chunk with the start of its samples: their own part of `request.start`, or noise.
    pub(super) fn start(&mut self, session: &mut Session, request: Request, first: usize) -> Result<()> {
        let chunk = self.z.dim(0);
        let values = self.z.numel() / chunk;
        let state = RngState { seed: request.seed, step: 0, first_image: first as u32 };
        let philox = Philox::new(state, START);
        let mut z = vec![0.0; self.z.numel()];
        match request.start {
            Some(start) => {
                let own = &start[first * values..];
                let len = own.len().min(z.len());
                z[..len].copy_from_slice(&own[..len]);
            }
            None => z.chunks_exact_mut(values).enumerate().for_each(|(i, z)| {
                philox.fill_normal(i as u32, 0, z);
                z.iter_mut().for_each(|v| *v *= request.plan.start_scale as f32);
            }),
        }
        self.set(session, &z)?;
        if let Some(labels) = self.labels {
            let class = |i: usize| match i < chunk {
                true => request.class.unwrap_or((first + i) % self.classes) as i32,
                false => self.classes as i32,
            };
            session.write_i32(labels, &(0..labels.dim(0)).map(class).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Puts samples in their place on the way.
    pub(super) fn set(&mut self, session: &mut Session, z: &[f32]) -> Result<()> {
        session.write(self.z, z)?;
        if self.input != self.z {
            session.write(self.input, &z.repeat(self.input.dim(0) / self.z.dim(0)))?;
        }
        Ok(())
    }

    pub(super) fn step(
        &mut self,
        session: &mut Session,
        request: Request,
        first: usize,
        k: usize,
        step: &SamplerStep,
    ) -> Result<()> {
        session.write(self.coefficients, record(step, request.guidance).values())?;
        session.write(self.time, &vec![step.time as f32; self.time.dim(0)])?;
        let first_image = if self.noise == StepNoise::Shared { 0 } else { first as u32 };
        let rng = RngState { seed: request.seed, step: k as u32, first_image };
        session.write_i32(self.rng, &rng.words())?;
        session.run(self.program.as_mut().expect("a network was loaded"))
    }
}

/// Numbers of one step and of guidance of strength `w`, as the device reads them. The two logarithms are 0 where no
/// variance is learned, so that the noise is not scaled.
fn record(step: &SamplerStep, w: f64) -> SamplerRecord {
    let ([log_min, log_max], [w_class, w_none]) = (step.log_variance.unwrap_or_default(), guidance::weights(w));
    SamplerRecord {
        p_z: step.p_z as f32,
        p_out: step.p_out as f32,
        limit: step.clip as f32,
        m_z: step.m_z as f32,
        m_x: step.m_x as f32,
        m_previous: step.m_previous as f32,
        m_out: step.m_out as f32,
        rho: step.rho as f32,
        log_min: log_min as f32,
        log_max: log_max as f32,
        w_class: w_class as f32,
        w_none: w_none as f32,
    }
}

/// `true` for the steps of `steps` after which a stage is shown: evenly spread, the last among them.
fn is_stage(step: usize, steps: usize) -> bool {
    let shown = (STAGES - 1).min(steps);
    (1..=shown).any(|column| step == column * steps / shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Device;
    use crate::train::Config;
    use crate::train::model_file::network;

    #[test]
    fn a_network_of_zero_output_leaves_the_arithmetic_of_the_steps() {
        let settings = ["model.image_size=4", "model.channels=[4]", "model.groups=2", "model.attention_levels=[]"];
        let settings: Vec<String> =
            [&settings[..], &["sample.sampler=ddim", "sample.steps=7"]].concat().iter().map(|s| (*s).into()).collect();
        let config = Config::default().with_settings(&settings).unwrap();
        let plan = config.sample_plan().unwrap();
        let (network, params) = network(&config).unwrap();
        let mut store = Store::new();
        // All weights are zero, and so is the network's output.
        let weights = Weights::reserve(&mut store, &params, DType::F32, false);
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, DType::F32, 2, false);
        let mut session = Session::new(Device::Cpu, &store).unwrap();
        sampler.load(&mut session, &network, &weights).unwrap();
        let request = Request::new(&plan, 3, 1);
        let samples = sampler.draw(&mut session, request, &mut |_, _| {}).unwrap();
        assert_eq!((samples.dims, samples.stage_grid), ([3, 4, 4, 3], [2, 8]));
        for (i, image) in samples.images.chunks(48).enumerate() {
            let mut z = [0.0; 48];
            let state = RngState { seed: 1, step: 0, first_image: 0 };
            Philox::new(state, START).fill_normal(i as u32, 0, &mut z);
            for (z, got) in z.iter().zip(image) {
                let want = plan.steps.iter().fold(f64::from(*z), |z, step| step.apply(z, 0.0, 0.0, 0.0));
                assert!((f64::from(*got) - want).abs() <= 1e-5, "sample {i}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn records_hold_the_coefficients_and_the_weights_of_guidance() {
        let config = Config::default().with_settings(&["sample.sampler=ddim".into()]).unwrap();
        let plan = config.sample_plan().unwrap();
        let fixed = SamplerStep { clip: f64::INFINITY, m_previous: 0.25, rho: 0.5, ..plan.steps[0] };
        let learned = SamplerStep { log_variance: Some([-3.0, -2.0]), ..fixed };
        let SamplerRecord { p_z, p_out, limit, m_z, m_x, m_previous, m_out, rho, .. } = record(&learned, 5.0);
        assert_eq!((limit, m_previous, rho), (f32::INFINITY, 0.25, 0.5));
        assert_eq!([p_z, p_out, m_z], [fixed.p_z, fixed.p_out, fixed.m_z].map(|value| value as f32));
        assert_eq!([m_x, m_out], [fixed.m_x, fixed.m_out].map(|value| value as f32));
        assert_eq!(record(&learned, 5.0).values()[8..], [-3.0, -2.0, 6.0, -5.0]);
        assert_eq!(record(&fixed, 0.0).values()[8..], [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn stages_are_evenly_spread_and_end_at_the_image() {
        for steps in [1, 2, 9, 10, 50, 1000] {
            let shown: Vec<usize> = (1..=steps).filter(|&step| is_stage(step, steps)).collect();
            assert_eq!(shown.len(), steps.min(STAGES - 1), "{steps}: {shown:?}");
            assert_eq!(shown.last(), Some(&steps));
        }
    }
}
