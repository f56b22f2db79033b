//! Drawing a part of an image: the moves of a [`Walk`] with the program of a sampler's step. What is known, and the noise on
//! the way forth, are put in place by the host.

use super::image_sampler::ImageSampler;
use super::request::{Request, Samples};
use crate::diffusion::NoiseLevel;
use crate::diffusion::inpainting::{Move, Walk};
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::Session;
use crate::{Error, Result};
use std::sync::atomic::Ordering;

/// Noise of the known part.
const KNOWN_NOISE: Stream = Stream::new(16);
/// Noise on the way forth.
const FORTH_NOISE: Stream = Stream::new(17);

/// An image of which a part is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The image `[h, w, c]`; what is to be drawn of it is not read.
    pub image: &'a [f32],
    /// True of the pixels that are to be drawn, `[h, w]`.
    pub drawn: &'a [bool],
}

impl Known<'_> {
    /// Puts the known part at a noise level into images `z [n, h, w, c]`.
    fn put(self, z: &mut [f32], NoiseLevel { a, sigma }: NoiseLevel, noise: Philox) {
        let channels = self.image.len() / self.drawn.len();
        let mut eps = vec![0.0; self.image.len()];
        for (i, z) in z.chunks_exact_mut(self.image.len()).enumerate() {
            if sigma > 0.0 {
                noise.fill_normal(i as u32, 0, &mut eps);
            }
            for (k, z) in z.iter_mut().enumerate().filter(|(k, _)| !self.drawn[k / channels]) {
                *z = a as f32 * self.image[k] + sigma as f32 * eps[k];
            }
        }
    }
}

impl ImageSampler {
    /// Draws what is not known of an image, `request.n` times. `request.plan` is the plan of the walk; neither start nor stages
    /// are read. `progress` receives the evaluations of the network that are done, and their number.
    ///
    /// # Errors
    /// As [`ImageSampler::draw`].
    ///
    /// # Panics
    /// If no network was loaded, or the image is of another size.
    pub fn inpaint(
        &mut self,
        session: &mut Session,
        request: Request,
        (known, walk): (Known, &Walk),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Samples> {
        self.check_class(request)?;
        self.prepare(session, request.n)?;
        let [most, h, w, c] = self.dims();
        assert_eq!((known.image.len(), known.drawn.len()), (h * w * c, h * w), "an image of the model's size");
        let (chunks, evaluations) = (request.n.div_ceil(most), walk.evaluations());
        let mut images = Vec::with_capacity(request.n * h * w * c);
        for chunk in 0..chunks {
            let first = chunk * most;
            let samples = first..request.n.min(first + most);
            self.start(session, Request { start: None, ..request }, &samples)?;
            let (mut z, mut done, mut is_changed) = (self.get(session, samples.len())?, 0, false);
            for (number, step) in walk.moves().iter().enumerate() {
                let state = RngState { seed: request.seed, step: number as u32, first_image: first as u32 };
                match *step {
                    Move::Back(k) => {
                        if is_changed {
                            self.set(session, &z)?;
                        }
                        self.step(session, request, &samples, number, &request.plan.steps[k])?;
                        z = self.get(session, samples.len())?;
                        known.put(&mut z, walk.level(k + 1), Philox::new(state, KNOWN_NOISE));
                        done += 1;
                        progress(chunk * evaluations + done, chunks * evaluations);
                    }
                    Move::Forth { from, to } => {
                        let (by, noise) = (walk.forth(from, to), Philox::new(state, FORTH_NOISE));
                        let mut eps = vec![0.0; h * w * c];
                        for (i, z) in z.chunks_exact_mut(eps.len()).enumerate() {
                            noise.fill_normal(i as u32, 0, &mut eps);
                            z.iter_mut().zip(&eps).for_each(|(z, eps)| *z = by.a as f32 * *z + by.sigma as f32 * eps);
                        }
                    }
                }
                is_changed = true;
                if request.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return Err(Error::Stopped);
                }
            }
            images.extend(z);
        }
        Samples::finished(images, [request.n, h, w, c])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::inpainting::Resampling;
    use crate::engine::device::Device;
    use crate::engine::ops::sampler_step::{STEP_NOISE, StepNoise};
    use crate::engine::tensor::{DType, Store};
    use crate::nn::Weights;
    use crate::probe::{Probe, ProbePoint};
    use crate::sample::image_sampler::START;
    use crate::train::Config;
    use crate::train::model_file::network;
    use crate::train::random::initial_weights;

    const SETTINGS: [&str; 8] = [
        "model.in_channels=1",
        "model.out_channels=1",
        "model.image_size=4",
        "model.channels=[4]",
        "model.groups=2",
        "model.attention_levels=[]",
        "model.classes=0",
        "sample.steps=6",
    ];
    /// Values of an image, and images of a chunk.
    const VALUES: usize = 4 * 4;
    const CHUNK: usize = 2;

    /// A network of random weights, with its sampler and its probe.
    struct Model {
        config: Config,
        session: Session,
        sampler: ImageSampler,
        probe: Probe,
    }

    fn model() -> Model {
        let config = Config::default().with_settings(&SETTINGS.map(String::from)).unwrap();
        let (network, params) = network(&config).unwrap();
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, false);
        let mut sampler = ImageSampler::reserve(&mut store, &config.model, DType::F32, CHUNK, false);
        let mut probe = Probe::reserve(&mut store, &config.model, CHUNK);
        let mut session = Session::new(Device::Cpu, &store).unwrap();
        // Also what starts at zero, so that the output depends on every pixel.
        let values: Vec<f32> = initial_weights(&params, 5).iter().map(|w| w + 0.02).collect();
        weights.write(&mut session, &values).unwrap();
        sampler.load(&network, &weights);
        probe.load(&network, &weights, DType::F32);
        Model { config, session, sampler, probe }
    }

    fn image() -> Vec<f32> {
        (0..VALUES).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    fn normals(state: RngState, stream: Stream, image: usize) -> Vec<f32> {
        let mut values = vec![0.0; VALUES];
        Philox::new(state, stream).fill_normal(image as u32, 0, &mut values);
        values
    }

    /// Three images, so that the second chunk is smaller, against the walk in plain arithmetic with the network's own outputs.
    #[test]
    fn the_walk_is_that_of_the_mathematics_and_known_pixels_are_the_image_s() {
        let Model { config, mut session, mut sampler, mut probe } = model();
        let (plan, process) = (config.sample_plan().unwrap(), config.diffusion.process().unwrap());
        let walk = Walk::new(&plan, &process, Resampling { jump: 2, repeats: 2 }).unwrap();
        let (image, drawn): (Vec<f32>, Vec<bool>) = (image(), (0..VALUES).map(|i| i % 3 == 0).collect());
        let known = Known { image: &image, drawn: &drawn };
        let mut told = Vec::new();
        let request = Request::new(&plan, 3, 9);
        let samples =
            sampler.inpaint(&mut session, request, (known, &walk), &mut |done, of| told.push((done, of))).unwrap();
        assert_eq!((samples.dims, told.len(), told.last()), ([3, 4, 4, 1], 20, Some(&(20, 20))));
        for i in 0..3 {
            let state = |step: usize| RngState { seed: 9, step: step as u32, first_image: i as u32 };
            let mut z = normals(state(0), START, 0);
            for (number, step) in walk.moves().iter().enumerate() {
                match *step {
                    Move::Back(k) => {
                        let (step, xi) = (plan.steps[k], normals(state(number), STEP_NOISE, 0));
                        let point = ProbePoint { level: NoiseLevel::CLEAN, network_time: step.time };
                        let out = probe.ask(&mut session, &z, &[point], &[], state(0)).unwrap().out;
                        let (level, eps) = (walk.level(k + 1), normals(state(number), KNOWN_NOISE, 0));
                        for p in 0..VALUES {
                            let fresh = step.apply(z[p].into(), out[p].into(), 0.0, xi[p].into());
                            let known = level.a * f64::from(image[p]) + level.sigma * f64::from(eps[p]);
                            z[p] = if drawn[p] { fresh } else { known } as f32;
                        }
                    }
                    Move::Forth { from, to } => {
                        let (by, eps) = (walk.forth(from, to), normals(state(number), FORTH_NOISE, 0));
                        z.iter_mut()
                            .zip(eps)
                            .for_each(|(z, e)| *z = (by.a * f64::from(*z) + by.sigma * f64::from(e)) as f32);
                    }
                }
            }
            let got = &samples.images[i * VALUES..][..VALUES];
            for p in 0..VALUES {
                assert!((got[p] - z[p]).abs() <= 1e-3, "image {i}, value {p}: {} is not {}", got[p], z[p]);
                assert!(drawn[p] || got[p] == image[p], "image {i}: the known value {p} has changed");
            }
        }
    }

    #[test]
    fn where_all_is_drawn_once_a_sample_is_drawn() {
        let Model { config, mut session, mut sampler, .. } = model();
        let (plan, process) = (config.sample_plan().unwrap(), config.diffusion.process().unwrap());
        let walk = Walk::new(&plan, &process, Resampling { jump: 1, repeats: 1 }).unwrap();
        let (image, request) = (image(), Request::new(&plan, 3, 9));
        let known = Known { image: &image, drawn: &[true; VALUES] };
        let inpainted = sampler.inpaint(&mut session, request, (known, &walk), &mut |_, _| {}).unwrap();
        assert_eq!(inpainted.images, sampler.draw(&mut session, request, &mut |_, _| {}).unwrap().images);
    }

    #[test]
    fn samples_that_share_their_noise_differ_by_their_start_alone() {
        for noise in [StepNoise::OfEach, StepNoise::Shared] {
            let mut store = Store::new();
            let config = Config::default().with_settings(&SETTINGS.map(String::from)).unwrap();
            let (network, params) = network(&config).unwrap();
            let weights = Weights::reserve(&mut store, &params, DType::F32, false);
            let mut sampler =
                ImageSampler::reserve(&mut store, &config.model, DType::F32, CHUNK, false).with_noise(noise);
            let mut session = Session::new(Device::Cpu, &store).unwrap();
            sampler.load(&network, &weights);
            let (plan, start) = (config.sample_plan().unwrap(), image().repeat(3));
            let request = Request { start: Some(&start), ..Request::new(&plan, 3, 1) };
            let images = sampler.draw(&mut session, request, &mut |_, _| {}).unwrap().images;
            let is_same = images.chunks_exact(VALUES).all(|image| *image == images[..VALUES]);
            assert_eq!(is_same, noise == StepNoise::Shared);
        }
    }
}
