//! The step of a sampler, recorded for as many samples as go through it together, and the way of samples through it.

use super::guide::{Guide, GuidingClassifier};
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
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// The start of a sample, z_T.
pub(super) const START: Stream = Stream::new(2);

/// Most samples of `values` values each that go through the network together.
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

/// Tensors of a step for some samples.
#[derive(Clone, Copy)]
struct StepTensors {
    /// The samples on their way `[n, h, w, c]` f32.
    z: Tensor,
    /// Input of the network: `z` in the storage type, twice where guided; `z` itself where that is no different.
    input: Tensor,
    /// The estimate of the clean samples `[n, h, w, c]` f32.
    x0: Tensor,
    /// `[n]`, or `[2 n]` where guided.
    time: Tensor,
    /// Like `time`, where the model is conditional.
    labels: Option<Tensor>,
}

impl StepTensors {
    /// The same for the first `n` samples only.
    fn first(&self, n: usize) -> StepTensors {
        let seen = n * (self.time.dim(0) / self.z.dim(0));
        StepTensors {
            z: Store::first(self.z, n),
            input: Store::first(self.input, if self.input == self.z { n } else { seen }),
            x0: Store::first(self.x0, n),
            time: Store::first(self.time, seen),
            labels: self.labels.map(|labels| Store::first(labels, seen)),
        }
    }
}

/// The step of a sampler, recorded for as many samples as were asked for.
pub struct ImageSampler {
    /// The tensors of the largest chunk.
    tensors: StepTensors,
    coefficients: Tensor,
    rng: Tensor,
    noise: StepNoise,
    classes: usize,
    /// The classes, and no class where the model has a label for it.
    class_rows: usize,
    loaded: Option<(Network, Weights)>,
    guide: Option<Guide>,
    /// By the number of samples.
    programs: HashMap<usize, Program>,
}

impl ImageSampler {
    /// Reserves the tensors for chunks of up to `chunk` images. A guided sampler evaluates the network twice in a step,
    /// with the label and without.
    pub fn reserve(store: &mut Store, model: &ModelConfig, dtype: DType, chunk: usize, guided: bool) -> ImageSampler {
        let [h, w, c] = model.sample_dims();
        let seen = if guided { 2 * chunk } else { chunk };
        let z = store.tensor(&[chunk, h, w, c], DType::F32);
        let tensors = StepTensors {
            z,
            input: if dtype == DType::F32 && !guided { z } else { store.tensor(&[seen, h, w, c], dtype) },
            x0: store.tensor(&[chunk, h, w, c], DType::F32),
            time: store.tensor(&[seen], DType::F32),
            labels: (model.classes() > 0).then(|| store.tensor(&[seen], DType::I32)),
        };
        ImageSampler {
            tensors,
            coefficients: store.tensor(&[SamplerRecord::LEN], DType::F32),
            rng: state_tensor(store),
            noise: StepNoise::OfEach,
            classes: model.classes(),
            class_rows: model.class_rows(),
            loaded: None,
            guide: None,
            programs: HashMap::new(),
        }
    }

    /// The same sampler, with this noise in its steps: to be said before [`ImageSampler::load`].
    #[must_use]
    pub fn with_noise(self, noise: StepNoise) -> ImageSampler {
        ImageSampler { noise, ..self }
    }

    /// The same sampler, guided by a classifier where a request says so: to be said before [`ImageSampler::load`].
    ///
    /// # Panics
    /// If the largest chunk is no power of two.
    #[must_use]
    pub fn with_classifier(self, store: &mut Store, classifier: &GuidingClassifier) -> ImageSampler {
        let guide = Guide::reserve(store, classifier, self.tensors.z);
        ImageSampler { guide: Some(guide), ..self }
    }

    /// Takes the values of a classifier's parameters.
    ///
    /// # Errors
    /// A failure of the device.
    ///
    /// # Panics
    /// If none was reserved.
    pub fn load_classifier(&self, session: &mut Session, values: &[f32]) -> Result<()> {
        self.guide.as_ref().expect("a classifier was reserved").load(session, values)
    }

    /// Takes a network with these weights.
    pub fn load(&mut self, network: &Network, weights: &Weights) {
        self.loaded = Some((network.clone(), weights.without_gradients()));
        self.programs.clear();
    }

    /// Records the step for all chunks of `n` samples, of which there are at most two sizes. Drawing does so where it was
    /// not done before.
    ///
    /// # Errors
    /// When the device has not enough memory.
    ///
    /// # Panics
    /// If no network was loaded.
    pub fn prepare(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let most = self.tensors.z.dim(0);
        let sizes = [most.min(n), n % most].into_iter().filter(|&size| size > 0);
        sizes.into_iter().try_for_each(|size| {
            self.guide.as_mut().map_or(Ok(()), |guide| guide.record(session, size))?;
            self.record(session, size)
        })
    }

    fn record(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let Entry::Vacant(entry) = self.programs.entry(n) else { return Ok(()) };
        let (network, weights) = self.loaded.as_ref().expect("a network was loaded");
        let StepTensors { z, input, x0, time, labels } = self.tensors.first(n);
        let mut tape = Tape::new(session.backend(), input.dtype());
        let out = network.forward(&mut Forward::evaluate(&mut tape, weights), input, time, labels);
        let next_input = if input == z { Tensor::EMPTY } else { input };
        let shift = self.guide.as_ref().map_or(Tensor::EMPTY, |guide| guide.shift(n));
        sampler_step(&mut tape, [z, next_input, x0], [out, shift], self.coefficients, self.rng, self.noise);
        entry.insert(session.load(tape)?);
        Ok(())
    }

    /// Draws samples; `progress` receives the number of network evaluations that are done, and of all.
    ///
    /// # Errors
    /// A class that the model does not have, samples that are not finite, too little memory, or a failure of the device.
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
        self.prepare(session, request.n)?;
        let [most, h, w, c] = self.dims();
        let (values, steps) = (h * w * c, &request.plan.steps);
        let (chunks, rows) = (request.n.div_ceil(most), request.n.min(STAGE_IMAGES).min(most));
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
        let mut images = Vec::with_capacity(request.n * values);
        for chunk in 0..chunks {
            let (first, evaluated) = (chunk * most, chunk * steps.len());
            let samples = first..request.n.min(first + most);
            let StepTensors { z, x0, .. } = self.tensors.first(samples.len());
            self.start(session, request, &samples)?;
            for done in 0..=steps.len() {
                let is_shown = chunk == 0 && shown(done);
                if is_shown {
                    let z = &session.read(z)?[..rows * values];
                    keep(&mut columns, StageView::Sample, z);
                    if done == steps.len() {
                        keep(&mut columns, StageView::Estimate, z);
                    }
                }
                if request.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return Err(Error::Stopped);
                }
                if let Some(step) = steps.get(done) {
                    self.step(session, request, &samples, done, step)?;
                    if is_shown && request.views.contains(&StageView::Estimate) {
                        keep(&mut columns, StageView::Estimate, &session.read(x0)?[..rows * values]);
                    }
                    progress(evaluated + done + 1, chunks * steps.len());
                }
            }
            images.extend(session.read(z)?);
        }
        let of_row = |row: usize| columns.iter().flatten().flat_map(move |column| &column[row * values..][..values]);
        let stages = (0..rows).flat_map(of_row).copied().collect();
        let samples = Samples::finished(images, [request.n, h, w, c])?;
        Ok(Samples { stages, stage_grid: [rows * columns.len(), columns[0].len()], ..samples })
    }

    /// Dimensions of the largest chunk.
    pub(super) fn dims(&self) -> [usize; 4] {
        self.tensors.z.dims()[..].try_into().expect("images have four dimensions")
    }

    pub(super) fn check_class(&self, request: Request) -> Result<()> {
        match request.class {
            Some(class) if class >= self.class_rows => {
                Err(Error::Config(format!("class {class}: the model knows {} classes", self.classes)))
            }
            _ => match (&self.guide, request.classifier) {
                (Some(guide), Some(by)) => guide.check_class(by),
                (None, Some(_)) => {
                    Err(Error::Config("guidance by a classifier: there is none beside the model".into()))
                }
                (_, None) => Ok(()),
            },
        }
    }

    /// Fills a chunk with the start of its samples: their own part of `request.start`, or noise.
    pub(super) fn start(&mut self, session: &mut Session, request: Request, samples: &Range<usize>) -> Result<()> {
        let (first, n) = (samples.start, samples.len());
        let StepTensors { z, labels, .. } = self.tensors.first(n);
        let values = z.numel() / n;
        let philox = Philox::new(RngState { seed: request.seed, step: 0, first_image: first as u32 }, START);
        let z = match request.start {
            Some(start) => start[first * values..][..n * values].to_vec(),
            None => {
                let mut z = vec![0.0; n * values];
                z.chunks_exact_mut(values).enumerate().for_each(|(i, z)| {
                    philox.fill_normal(i as u32, 0, z);
                    z.iter_mut().for_each(|v| *v *= request.plan.start_scale as f32);
                });
                z
            }
        };
        self.set(session, &z)?;
        if let (Some(guide), Some(by)) = (&mut self.guide, request.classifier) {
            guide.start(session, by, samples)?;
        }
        if let Some(labels) = labels {
            let class = |i: usize| match i < n {
                true => request.class.unwrap_or((first + i) % self.classes) as i32,
                false => self.classes as i32,
            };
            session.write_i32(labels, &(0..labels.dim(0)).map(class).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Puts samples `[n, h, w, c]` in their place on the way.
    pub(super) fn set(&mut self, session: &mut Session, values: &[f32]) -> Result<()> {
        let whole = &self.tensors.z;
        let n = values.len() * whole.dim(0) / whole.numel();
        let StepTensors { z, input, .. } = self.tensors.first(n);
        session.write(z, values)?;
        if input != z {
            session.write(input, &values.repeat(input.dim(0) / n))?;
        }
        Ok(())
    }

    /// The first `n` samples where they are on the way, `[n, h, w, c]`.
    pub(super) fn get(&self, session: &mut Session, n: usize) -> Result<Vec<f32>> {
        session.read(self.tensors.first(n).z)
    }

    pub(super) fn step(
        &mut self,
        session: &mut Session,
        request: Request,
        samples: &Range<usize>,
        k: usize,
        step: &SamplerStep,
    ) -> Result<()> {
        let time = self.tensors.first(samples.len()).time;
        session.write(self.coefficients, record(step, request.guidance).values())?;
        session.write(time, &vec![step.time as f32; time.dim(0)])?;
        let first_image = if self.noise == StepNoise::Shared { 0 } else { samples.start as u32 };
        let rng = RngState { seed: request.seed, step: k as u32, first_image };
        session.write_i32(self.rng, &rng.words())?;
        if let Some(guide) = &mut self.guide {
            match request.classifier {
                Some(by) => guide.run(session, by, samples.len(), step)?,
                None => guide.rest(session, samples.len())?,
            }
        }
        session.run(self.programs.get_mut(&samples.len()).expect("it was recorded"))
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
    use crate::engine::device::{Device, EmuOptions};
    use crate::engine::ops::check::emulated;
    use crate::nn::{Classifier, ClassifierShape, ParamSet};
    use crate::sample::ByClassifier;
    use crate::train::Config;
    use crate::train::model_file::network;
    use crate::train::random::initial_weights;
    use std::sync::Arc;

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
        sampler.load(&network, &weights);
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

        // Chosen stages: the sample after so many steps, and the estimate that the next one makes of it; of the end itself.
        let (stages, views) = ([0, 2, 3, 7], [StageView::Estimate, StageView::Sample]);
        let request = Request { stages: &stages, views: &views, ..request };
        let samples = sampler.draw(&mut session, request, &mut |_, _| {}).unwrap();
        assert_eq!(samples.stage_grid, [2 * 2, 4]);
        let cells: Vec<&[f32]> = samples.stages.chunks(48).collect();
        for (i, row) in cells.chunks(8).enumerate() {
            let mut start = [0.0; 48];
            let state = RngState { seed: 1, step: 0, first_image: 0 };
            Philox::new(state, START).fill_normal(i as u32, 0, &mut start);
            for (column, done) in stages.into_iter().enumerate() {
                let way = |z: f32| plan.steps[..done].iter().fold(f64::from(z), |z, step| step.apply(z, 0.0, 0.0, 0.0));
                for (k, z) in start.iter().enumerate() {
                    let z = way(*z);
                    let estimate = plan.steps.get(done).map_or(z, |step| step.x0(z, 0.0));
                    let found = [row[column][k], row[4 + column][k]].map(f64::from);
                    let is_right = found.iter().zip([estimate, z]).all(|(found, want)| (found - want).abs() <= 1e-5);
                    assert!(is_right, "sample {i} after {done} steps: {found:?}, not {estimate} and {z}");
                }
            }
        }
    }

    /// `n` samples of a network with these channels at 8x8 and 4x4 pixels, in chunks of up to 16.
    fn draw(device: Device, dtype: DType, channels: &str, n: usize) -> Vec<Vec<u32>> {
        let channels = format!("model.channels={channels}");
        let settings = [
            "model.image_size=8",
            &channels,
            "model.layers_per_level=1",
            "model.groups=8",
            "model.attention_levels=[1]",
            "sample.sampler=ddpm",
            "sample.steps=2",
        ];
        let config = Config::default().with_settings(&settings.map(String::from)).unwrap();
        let (network, params) = network(&config).unwrap();
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, dtype, false);
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, dtype, 16, false);
        let mut session = Session::new(device, &store).unwrap();
        // The layers that begin at zero would hide all others.
        let mut noise = vec![0.0; params.flat_len()];
        Philox::new(RngState { seed: 3, step: 0, first_image: 0 }, START).fill_normal(0, 0, &mut noise);
        let initial = initial_weights(&params, 3);
        weights
            .write(&mut session, &initial.iter().zip(&noise).map(|(w, v)| w + 0.05 * v).collect::<Vec<_>>())
            .unwrap();
        sampler.load(&network, &weights);
        let plan = config.sample_plan().unwrap();
        let samples = sampler.draw(&mut session, Request::new(&plan, n, 7), &mut |_, _| {}).unwrap();
        assert!(
            sampler.programs.len() <= 2 && sampler.programs.contains_key(&n.min(16)),
            "{:?}",
            sampler.programs.keys()
        );
        samples.images.chunks(8 * 8 * 3).map(|image| image.iter().map(|v| v.to_bits()).collect()).collect()
    }

    #[test]
    fn a_sample_does_not_depend_on_how_many_are_drawn_with_it() {
        let draw = |n| draw(Device::Cpu, DType::F32, "[64,72]", n);
        let all = draw(64);
        for n in [1, 3, 4, 17] {
            assert!(draw(n) == all[..n], "{n} samples");
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_how_many_a_gpu_draws_with_it() {
        if let Err(reason) = emulated(EmuOptions::default()) {
            crate::skip!("{reason}");
        }
        for compute_capability in [(8, 0), (9, 0)] {
            let options = EmuOptions { compute_capability, ..EmuOptions::default() };
            // 128 channels at 4x4 pixels: for one image most of a tile of Hopper's kernels is padding, for six it is not.
            let draw = |n| draw(emulated(options).unwrap(), DType::Bf16, "[64,128]", n);
            let all = draw(6);
            for n in [1, 3, 4] {
                assert!(draw(n) == all[..n], "{n} samples as {compute_capability:?}");
            }
        }
    }

    /// A network of zero output, guided: in one step all that moves a sample is the classifier's gradient. Returns the
    /// samples, where they start, and the shift of the step. Of samples that were guided before nothing is left.
    fn guided(device: Device, dtype: DType, classifier: Option<ByClassifier>) -> Result<[Vec<f32>; 3]> {
        let settings = ["model.architecture=mlp", "sample.sampler=ddim", "sample.steps=1", "sample.clip_x0=false"];
        let config = Config::default().with_settings(&settings.map(String::from)).unwrap();
        let (network, params) = network(&config).unwrap();
        let shape =
            ClassifierShape { dims: [1, 1, 2], classes: 3, channels: 8, most_channels: 8, features: 16, time_dim: 0 };
        let mut of_classifier = ParamSet::default();
        let classifier_network = Arc::new(Classifier::new(&mut of_classifier, &shape).unwrap());
        let values = initial_weights(&of_classifier, 4).iter().map(|w| 3.0 * w).collect();
        let guide =
            GuidingClassifier { network: classifier_network, params: of_classifier, values, classes: shape.classes };
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, dtype, false);
        let sampler = ImageSampler::reserve(&mut store, &config.model, dtype, 4, false);
        let mut sampler = sampler.with_classifier(&mut store, &guide);
        let mut session = Session::new(device, &store).unwrap();
        sampler.load_classifier(&mut session, &guide.values).unwrap();
        sampler.load(&network, &weights);
        let plan = config.sample_plan().unwrap();
        let request = Request { classifier, ..Request::new(&plan, 3, 1) };
        let before = Request { classifier: Some(ByClassifier { scale: 5.0, class: Some(1) }), ..request };
        sampler.draw(&mut session, before, &mut |_, _| {})?;
        let samples = sampler.draw(&mut session, request, &mut |_, _| {})?.images;
        let mut z = vec![0.0; 6];
        let philox = Philox::new(RngState { seed: 1, step: 0, first_image: 0 }, START);
        z.chunks_exact_mut(2).enumerate().for_each(|(i, z)| philox.fill_normal(i as u32, 0, z));
        let shift = session.read(sampler.guide.as_ref().unwrap().shift(3)).unwrap();
        for ((sample, z), shift) in samples.iter().zip(&z).zip(&shift) {
            let want = plan.steps[0].apply(f64::from(*z), f64::from(*shift), 0.0, 0.0);
            assert!((f64::from(*sample) - want).abs() <= 1e-5 * want.abs().max(1.0), "{sample} is not {want}");
        }
        Ok([samples, z, shift])
    }

    #[test]
    fn a_classifier_moves_the_output_of_the_network_on_every_device() {
        let by = |scale| Some(ByClassifier { scale, class: None });
        let cpu = |by| guided(Device::Cpu, DType::F32, by).unwrap();
        let ([free, ..], [_, _, shift], [_, _, doubled]) = (cpu(None), cpu(by(1.0)), cpu(by(2.0)));
        assert!(free == cpu(by(0.0))[0] && shift.iter().all(|shift| shift.abs() > 1e-4), "{shift:?}");
        for (one, two) in shift.iter().zip(&doubled) {
            assert!((two - 2.0 * one).abs() <= 1e-5 * one.abs(), "{two} is not twice {one}");
        }
        let unknown = Some(ByClassifier { scale: 1.0, class: Some(3) });
        assert!(guided(Device::Cpu, DType::F32, unknown).unwrap_err().to_string().contains("class 3"));
        match emulated(EmuOptions::default()) {
            Err(reason) => crate::skip!("{reason}"),
            Ok(device) => {
                let [_, _, emulated] = guided(device, DType::Bf16, by(1.0)).unwrap();
                for (cpu, emulated) in shift.iter().zip(&emulated) {
                    assert!((cpu - emulated).abs() <= 1e-4 * cpu.abs(), "{cpu} and {emulated}");
                }
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
