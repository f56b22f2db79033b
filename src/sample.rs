//! Drawing samples: from noise, one evaluation of the network and one sampler step after another.
//!
//! Sample `i` is a function of the weights, the seed and `i`. Samples are drawn in chunks of one fixed size, the last
//! one padded, since the rounding of a matrix product may depend on its shape.

use crate::diffusion::SamplerStep;
use crate::nn::{Forward, UNet, UNetConfig, Weights};
use crate::ops::philox::{Philox, RngState, Stream};
use crate::ops::sampler_step::sampler_step;
use crate::report::{Picture, grid};
use crate::tape::{Backend, Program, Session, Tape};
use crate::tensor::{DType, Store, Tensor};
use crate::{Error, Result};

/// Images that go through the network together.
pub fn chunk_images(backend: Backend) -> usize {
    match backend {
        Backend::Cpu => 16,
        Backend::Gpu => 64,
    }
}

/// Columns of a strip from noise to image.
const STAGES: usize = 10;
/// Rows of it: samples whose way is shown.
const STAGE_IMAGES: usize = 6;

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The way back in time.
    pub steps: &'a [SamplerStep],
    /// Number of samples.
    pub n: usize,
    /// Names the samples: each is a function of it and its own number.
    pub seed: u64,
    /// The class of all samples of a conditional model; without one, the classes take turns.
    pub class: Option<usize>,
}

/// Samples, in [-1, 1] if the sampler clips.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `[n, h, w, c]`
    pub images: Vec<f32>,
    /// The dimensions of `images`.
    pub dims: [usize; 4],
    /// The first samples at some times on their way, one sample after the other: `[rows * columns, h, w, c]`.
    pub stages: Vec<f32>,
    /// Rows and columns of the stages.
    pub stage_grid: [usize; 2],
}

impl Samples {
    /// The way from noise to images, one sample a row.
    pub fn strip(&self) -> Picture {
        let [rows, columns] = self.stage_grid;
        let [_, h, w, c] = self.dims;
        grid(&self.stages, [rows * columns, h, w, c], Some(columns))
    }
}

/// The recorded step, and the tensors that it reads.
pub struct ImageSampler {
    /// The samples on their way `[chunk, h, w, c]` f32.
    z: Tensor,
    /// The same in the network's storage type; `z` itself where that is f32.
    input: Tensor,
    /// `[chunk]`
    time: Tensor,
    /// `[chunk]`, where the model is conditional.
    labels: Option<Tensor>,
    coefficients: Tensor,
    rng: Tensor,
    classes: usize,
    program: Option<Program>,
}

impl ImageSampler {
    /// Reserves the tensors for chunks of `chunk` images.
    pub fn reserve(store: &mut Store, model: &UNetConfig, dtype: DType, chunk: usize) -> ImageSampler {
        let dims = [chunk, model.image_size, model.image_size, model.in_channels];
        let z = store.tensor(&dims, DType::F32);
        ImageSampler {
            z,
            input: if dtype == DType::F32 { z } else { store.tensor(&dims, dtype) },
            time: store.tensor(&[chunk], DType::F32),
            labels: (model.classes > 0).then(|| store.tensor(&[chunk], DType::I32)),
            coefficients: store.tensor(&[8], DType::F32),
            rng: RngState::tensor(store),
            classes: model.classes,
            program: None,
        }
    }

    /// Records the step of a network with these weights.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn load(&mut self, session: &mut Session, unet: &UNet, weights: &Weights) -> Result<()> {
        let mut weights = weights.clone();
        weights.gradients = Tensor::EMPTY;
        let mut tape = Tape::new(session.backend(), self.input.dtype());
        let out = unet.forward(&mut Forward::evaluate(&mut tape, &weights), self.input, self.time, self.labels);
        let next_input = if self.input == self.z { Tensor::EMPTY } else { self.input };
        let x0 = tape.tensor(&self.z.dims(), DType::F32);
        sampler_step(&mut tape, [self.z, next_input, x0], out, self.coefficients, self.rng);
        self.program = Some(session.load(tape)?);
        Ok(())
    }

    /// Draws samples; `progress` is told how many of how many network evaluations are done.
    ///
    /// # Errors
    /// A class that the model does not know, samples that are not finite, or what the device reports.
    ///
    /// # Panics
    /// If no network was loaded.
    pub fn draw(
        &mut self,
        session: &mut Session,
        request: Request,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Samples> {
        if let Some(class) = request.class
            && class >= self.classes
        {
            return Err(Error::Config(format!("class {class}: the model knows {} classes", self.classes)));
        }
        let [chunk, h, w, c] = self.z.dims()[..] else { unreachable!("images have four dimensions") };
        let values = h * w * c;
        let (chunks, rows) = (request.n.div_ceil(chunk), request.n.min(STAGE_IMAGES).min(chunk));
        let shown = |step: usize| is_stage(step, request.steps.len());
        let mut columns: Vec<Vec<f32>> = Vec::new();
        let mut images = Vec::with_capacity(chunks * chunk * values);
        for first in (0..chunks).map(|i| i * chunk) {
            self.start(session, request, first)?;
            if first == 0 {
                columns.push(session.read(self.z)?[..rows * values].to_vec());
            }
            for (k, step) in request.steps.iter().enumerate() {
                self.step(session, request.seed, first, k, step)?;
                if first == 0 && shown(k + 1) {
                    columns.push(session.read(self.z)?[..rows * values].to_vec());
                }
                progress(first / chunk * request.steps.len() + k + 1, chunks * request.steps.len());
            }
            images.extend(session.read(self.z)?);
        }
        images.truncate(request.n * values);
        if let Some(bad) = images.iter().position(|v| !v.is_finite()) {
            return Err(Error::Config(format!(
                "sample {} is not finite: the weights are not those of a trained model",
                bad / values
            )));
        }
        let stages = (0..rows).flat_map(|row| columns.iter().flat_map(move |c| &c[row * values..][..values])).copied();
        Ok(Samples { images, dims: [request.n, h, w, c], stages: stages.collect(), stage_grid: [rows, columns.len()] })
    }

    /// Fills a chunk with the noise that its samples start from.
    fn start(&mut self, session: &mut Session, request: Request, first: usize) -> Result<()> {
        let chunk = self.z.dim(0);
        let state = RngState { seed: request.seed, step: 0, first_image: first as u32 };
        let philox = Philox::new(state, Stream::SampleInit);
        let mut noise = vec![0.0; self.z.numel()];
        noise
            .chunks_exact_mut(self.z.numel() / chunk)
            .enumerate()
            .for_each(|(i, z)| philox.fill_normal(i as u32, 0, z));
        session.write(self.z, &noise)?;
        if self.input != self.z {
            session.write(self.input, &noise)?;
        }
        if let Some(labels) = self.labels {
            let class = |i: usize| request.class.unwrap_or((first + i) % self.classes) as i32;
            session.write_i32(labels, &(0..chunk).map(class).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn step(&mut self, session: &mut Session, seed: u64, first: usize, k: usize, step: &SamplerStep) -> Result<()> {
        let SamplerStep { p_z, p_out, clip, m_z, m_x, m_out, rho, .. } = *step;
        let coefficients = [p_z, p_out, clip, m_z, m_x, m_out, rho, 0.0].map(|c| c as f32);
        session.write(self.coefficients, &coefficients)?;
        session.write(self.time, &vec![step.time as f32; self.z.dim(0)])?;
        session.write_i32(self.rng, &RngState { seed, step: k as u32, first_image: first as u32 }.words())?;
        session.run(self.program.as_mut().expect("a network was loaded"))
    }
}

/// Whether the samples after `step` of `steps` steps are one of the stages shown: evenly spread, the last among them.
fn is_stage(step: usize, steps: usize) -> bool {
    let shown = (STAGES - 1).min(steps);
    (1..=shown).any(|column| step == column * steps / shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::train::Config;
    use crate::train::model_file::network;

    #[test]
    fn a_network_that_says_nothing_leaves_the_arithmetic_of_the_steps() {
        let settings = ["model.image_size=4", "model.channels=[4]", "model.groups=2", "model.attention_levels=[]"];
        let settings: Vec<String> =
            [&settings[..], &["sample.sampler=ddim", "sample.steps=7"]].concat().iter().map(|s| (*s).into()).collect();
        let config = Config::default().with_settings(&settings).unwrap();
        let steps = config.sample.steps(&config.diffusion).unwrap();
        let (unet, params) = network(&config).unwrap();
        let mut store = Store::new();
        // All weights are zero, and so is the network's output.
        let weights = Weights::reserve(&mut store, &params, DType::F32, false);
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, DType::F32, 2);
        let mut session = Session::new(Device::Cpu, &store).unwrap();
        sampler.load(&mut session, &unet, &weights).unwrap();
        let request = Request { steps: &steps, n: 3, seed: 1, class: None };
        let samples = sampler.draw(&mut session, request, &mut |_, _| {}).unwrap();
        assert_eq!((samples.dims, samples.stage_grid), ([3, 4, 4, 3], [2, 8]));
        for (i, image) in samples.images.chunks(48).enumerate() {
            let mut z = [0.0; 48];
            let state = RngState { seed: 1, step: 0, first_image: 0 };
            Philox::new(state, Stream::SampleInit).fill_normal(i as u32, 0, &mut z);
            for (z, got) in z.iter().zip(image) {
                let want = steps.iter().fold(f64::from(*z), |z, step| step.apply(z, 0.0, 0.0, 0.0));
                assert!((f64::from(*got) - want).abs() <= 1e-5, "sample {i}: {got} is not {want}");
            }
        }
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
