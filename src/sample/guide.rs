//! Guidance by a classifier (Dhariwal and Nichol 2021): before every step, the gradient of `ln p(class | z_t)` by `z_t`,
//! which a pass backward to the input gives, becomes a shift of the network's output
//! ([`guidance`](crate::diffusion::guidance)).

use super::request::ByClassifier;
use crate::diffusion::SamplerStep;
use crate::diffusion::guidance::shift_per_gradient;
use crate::engine::ops::cross_entropy::cross_entropy;
use crate::engine::ops::scale_add::scale_add;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Classifier, Forward, ParamSet, Weights};
use crate::{Error, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// A classifier that guides: its network, and the values of its parameters.
#[derive(Clone)]
pub struct GuidingClassifier {
    /// The network, of noisy samples.
    pub network: Arc<Classifier>,
    /// Its parameters.
    pub params: ParamSet,
    /// Their values.
    pub values: Vec<f32>,
    /// Its classes.
    pub classes: usize,
}

/// A classifier on a device, beside the step of a sampler. It computes in f32, whatever the sampler does.
pub(super) struct Guide {
    network: Arc<Classifier>,
    weights: Weights,
    classes: usize,
    /// The samples on their way `[n, h, w, c]`.
    z: Tensor,
    time: Tensor,
    labels: Tensor,
    /// `[n, classes]`
    zero: Tensor,
    /// `[1]`: the factor of the gradient in the shift.
    factor: Tensor,
    /// The shift of the network's output `[n, h, w, c]`.
    shift: Tensor,
    /// By the number of samples, a power of two.
    programs: HashMap<usize, Program>,
}

impl Guide {
    /// Reserves a classifier of the samples `z`. The mean over them is taken exactly, so that a sample does not depend on
    /// how many are drawn with it.
    ///
    /// # Panics
    /// If their number is no power of two.
    pub fn reserve(store: &mut Store, classifier: &GuidingClassifier, z: Tensor) -> Guide {
        let n = z.dim(0);
        assert!(n.is_power_of_two(), "{n} samples");
        Guide {
            network: classifier.network.clone(),
            weights: Weights::reserve(store, &classifier.params, DType::F32, false),
            classes: classifier.classes,
            z,
            time: store.tensor(&[n], DType::F32),
            labels: store.tensor(&[n], DType::I32),
            zero: store.tensor(&[n, classifier.classes], DType::F32),
            factor: store.tensor(&[1], DType::F32),
            shift: store.tensor(&z.dims(), DType::F32),
            programs: HashMap::new(),
        }
    }

    /// Takes the values of the parameters.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn load(&self, session: &mut Session, values: &[f32]) -> Result<()> {
        self.weights.write(session, values)?;
        session.write(self.zero, &vec![0.0; self.zero.numel()])
    }

    /// The shift of the first `n` samples.
    pub fn shift(&self, n: usize) -> Tensor {
        Store::first(self.shift, n)
    }

    /// Refuses a class that the classifier does not know.
    pub fn check_class(&self, by: ByClassifier) -> Result<()> {
        match by.class {
            Some(class) if class >= self.classes => {
                Err(Error::Config(format!("class {class}: the classifier knows {} classes", self.classes)))
            }
            _ => Ok(()),
        }
    }

    /// Records the pass for `n` samples, where it was not recorded before.
    pub fn record(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let n = n.next_power_of_two();
        let Entry::Vacant(entry) = self.programs.entry(n) else { return Ok(()) };
        let [z, time, labels, zero, shift] =
            [self.z, self.time, self.labels, self.zero, self.shift].map(|tensor| Store::first(tensor, n));
        let mut tape = Tape::new(session.backend(), DType::F32);
        tape.parameter(z, shift);
        let weights = self.weights.without_gradients();
        let [_, logits] = self.network.forward(&mut Forward::evaluate(&mut tape, &weights), z, Some(time));
        let dlogits = cross_entropy(&mut tape, logits, labels).dlogits;
        let scaled = scale_add(&mut tape, zero, self.factor, dlogits);
        tape.pull_back(z, logits, scaled);
        entry.insert(session.load(tape)?);
        Ok(())
    }

    /// Says which classes these samples are guided to: one, or all in turn.
    pub fn start(&mut self, session: &mut Session, by: ByClassifier, samples: &Range<usize>) -> Result<()> {
        let n = samples.len().next_power_of_two();
        let class = |i: usize| by.class.unwrap_or((samples.start + i) % self.classes) as i32;
        session.write_i32(Store::first(self.labels, n), &(0..n).map(class).collect::<Vec<_>>())
    }

    /// Computes the shift of the output of `n` samples in a step.
    pub fn run(&mut self, session: &mut Session, by: ByClassifier, n: usize, step: &SamplerStep) -> Result<()> {
        let n = n.next_power_of_two();
        // The cross-entropy is the mean of -ln p.
        let factor = -(n as f64) * shift_per_gradient(step, by.scale);
        session.write(self.factor, &[factor as f32])?;
        session.write(Store::first(self.time, n), &vec![step.time as f32; n])?;
        session.run(self.programs.get_mut(&n).expect("it was recorded"))
    }

    /// Leaves the output of `n` samples in a step as it is.
    pub fn rest(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let shift = self.shift(n);
        session.write(shift, &vec![0.0; shift.numel()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{PredictionTarget, Process, SamplePlan, Sampler, Schedule};
    use crate::engine::device::{Device, EmuOptions};
    use crate::engine::ops::check::emulated;
    use crate::engine::random::{Philox, RngState, Stream};
    use crate::nn::ClassifierShape;

    const IMAGES: ClassifierShape =
        ClassifierShape { dims: [9, 8, 3], classes: 4, channels: 8, most_channels: 16, features: 12, time_dim: 16 };
    const POINTS: ClassifierShape = ClassifierShape { dims: [1, 1, 2], classes: 3, features: 24, ..IMAGES };

    /// A step at network time 300 whose output is the score, doubled.
    fn step() -> SamplerStep {
        let process = Process::Discrete(Schedule::linear(1000, 1e-4, 0.02).unwrap());
        let plan = SamplePlan::new(Sampler::default(), &process, PredictionTarget::Epsilon, 10, None, None).unwrap();
        SamplerStep { time: 300.0, out_per_score: 2.0, ..plan.steps[0] }
    }

    /// A guide of random weights on a device.
    struct Rig {
        guide: Guide,
        session: Session,
        classifier: GuidingClassifier,
    }

    impl Rig {
        fn new(shape: &ClassifierShape, device: Device, chunk: usize) -> Rig {
            let (mut params, mut store) = (ParamSet::default(), Store::new());
            let network = Arc::new(Classifier::new(&mut params, shape).unwrap());
            let mut values = vec![0.0; params.flat_len()];
            normals(7, &mut values);
            values.iter_mut().for_each(|value| *value *= 0.2);
            let classifier = GuidingClassifier { network, params, values, classes: shape.classes };
            let [h, w, c] = shape.dims;
            let z = store.tensor(&[chunk, h, w, c], DType::F32);
            let guide = Guide::reserve(&mut store, &classifier, z);
            let mut session = Session::new(device, &store).unwrap();
            guide.load(&mut session, &classifier.values).unwrap();
            Rig { guide, session, classifier }
        }

        /// The shift of samples.
        fn shift(&mut self, z: &[f32], by: ByClassifier) -> Vec<f32> {
            let n = z.len() * self.guide.z.dim(0) / self.guide.z.numel();
            self.session.write(Store::first(self.guide.z, n), z).unwrap();
            self.guide.record(&mut self.session, n).unwrap();
            self.guide.start(&mut self.session, by, &(0..n)).unwrap();
            self.guide.run(&mut self.session, by, n, &step()).unwrap();
            self.session.read(self.guide.shift(n)).unwrap()
        }

        /// `ln p(class | z)` of each of as many samples as the chunk has.
        fn log_p(&mut self, z: &[f32], class: impl Fn(usize) -> usize) -> Vec<f64> {
            let mut tape = Tape::new(self.session.backend(), DType::F32);
            let weights = self.guide.weights.without_gradients();
            let cx = &mut Forward::evaluate(&mut tape, &weights);
            let [_, logits] = self.classifier.network.forward(cx, self.guide.z, Some(self.guide.time));
            tape.keep(logits);
            let mut program = self.session.load(tape).unwrap();
            self.session.write(self.guide.z, z).unwrap();
            self.session.write(self.guide.time, &vec![step().time as f32; self.guide.time.numel()]).unwrap();
            self.session.run(&mut program).unwrap();
            let logits = self.session.read_in(&program, logits).unwrap();
            let of_row = |(i, row): (usize, &[f32])| {
                log_softmax(&row.iter().map(|&logit| logit.into()).collect::<Vec<f64>>(), class(i))
            };
            logits.chunks_exact(self.classifier.classes).enumerate().map(of_row).collect()
        }
    }

    fn normals(seed: u64, values: &mut [f32]) {
        Philox::new(RngState { seed, step: 0, first_image: 0 }, Stream::new(5)).fill_normal(0, 0, values);
    }

    /// A gradient by differences in f64 of the classifier in f64, at `z [h, w, c]`.
    fn differences(z: &[f32], log_p: impl Fn(&[f64]) -> f64, k: usize) -> f64 {
        const H: f64 = 1e-6;
        let moved = |by: f64| {
            let mut z: Vec<f64> = z.iter().map(|&z| z.into()).collect();
            z[k] += by;
            log_p(&z)
        };
        (moved(H) - moved(-H)) / (2.0 * H)
    }

    fn log_softmax(logits: &[f64], class: usize) -> f64 {
        logits[class] - logits.iter().map(|logit| logit.exp()).sum::<f64>().ln()
    }

    /// The perceptron of [`POINTS`] again, in f64: its corners are too sharp for differences in f32.
    fn perceptron(classifier: &GuidingClassifier, z: &[f64]) -> Vec<f64> {
        let files = classifier.params.to_files(&classifier.values);
        let tensor = |name: String| &files.iter().find(|file| file.0 == name).expect("a tensor").2;
        let mut h = [z, &[1e-3 * step().time]].concat();
        for layer in 0..4 {
            let [weight, bias] = ["weight", "bias"].map(|part| tensor(format!("layers.{layer}.{part}")));
            let rows = weight.chunks_exact(h.len()).zip(bias);
            let of_row = |(row, bias): (&[f32], &f32)| {
                f64::from(*bias) + row.iter().zip(&h).map(|(w, h)| f64::from(*w) * h).sum::<f64>()
            };
            let sums: Vec<f64> = rows.map(of_row).collect();
            h = if layer < 3 { sums.into_iter().map(|sum| sum.max(0.0)).collect() } else { sums };
        }
        h
    }

    /// With the scale and the step's factor; samples differ in class. The shift in f32 is off by rounding alone: sums of
    /// 24 products in four layers, forward and back.
    #[test]
    fn the_shift_of_points_is_the_gradient_of_the_log_probability() {
        let mut rig = Rig::new(&POINTS, Device::Cpu, 4);
        let mut z = vec![0.0; 8];
        normals(1, &mut z);
        let shift = rig.shift(&z, ByClassifier { scale: -1.5, class: None });
        assert!(shift.iter().all(|shift| shift.abs() > 1e-3), "{shift:?}");
        for (i, (z, shift)) in z.chunks(2).zip(shift.chunks(2)).enumerate() {
            for (k, shift) in shift.iter().enumerate() {
                let log_p = |z: &[f64]| log_softmax(&perceptron(&rig.classifier, z), i % POINTS.classes);
                let (found, want) = (f64::from(*shift), -1.5 * 2.0 * differences(z, log_p, k));
                assert!((found - want).abs() <= 1e-5 * want.abs().max(0.1), "{i}, {k}: {found}, differences {want}");
            }
        }
    }

    /// Differences of fourth order in f32, which `h` = 1/32 makes good to 3 h^4 / 30 of the fifth derivative, and to
    /// 3 * 1.5 / h, 144, times the rounding of a log-probability, some 1e-6.
    #[test]
    fn the_shift_of_images_is_the_gradient_of_the_log_probability() {
        let (mut rig, n, h) = (Rig::new(&IMAGES, Device::Cpu, 4), 4, 1.0 / 32.0);
        let values: usize = IMAGES.dims.iter().product();
        let mut z = vec![0.0; n * values];
        normals(1, &mut z);
        let shift = rig.shift(&z, ByClassifier { scale: -1.5, class: None });
        assert!(shift.iter().any(|shift| shift.abs() > 1e-2), "{shift:?}");
        for k in (0..values).step_by(values / 24) {
            let mut log_p = |by: f32| {
                let mut moved = z.clone();
                moved.iter_mut().skip(k).step_by(values).for_each(|z| *z += by);
                rig.log_p(&moved, |i| i % IMAGES.classes)
            };
            let [up, down, up_2, down_2] = [h, -h, 2.0 * h, -2.0 * h].map(&mut log_p);
            for i in 0..n {
                let slope = (8.0 * (up[i] - down[i]) - (up_2[i] - down_2[i])) / (12.0 * f64::from(h));
                let (found, want) = (f64::from(shift[i * values + k]), -1.5 * 2.0 * slope);
                assert!((found - want).abs() <= 3e-4, "sample {i}, value {k}: {found}, differences {want}");
            }
        }
    }

    #[test]
    fn the_kernels_shift_as_the_cpu_does() {
        if let Err(reason) = emulated(EmuOptions::default()) {
            crate::skip!("{reason}");
        }
        for shape in [&IMAGES, &POINTS] {
            let mut z = vec![0.0; 3 * shape.dims.iter().product::<usize>()];
            normals(2, &mut z);
            let by = ByClassifier { scale: 2.0, class: Some(1) };
            let shift = |device| Rig::new(shape, device, 4).shift(&z, by);
            let (cpu, gpu) = (shift(Device::Cpu), shift(emulated(EmuOptions::default()).unwrap()));
            for (i, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
                assert!((cpu - gpu).abs() <= 1e-4 * cpu.abs().max(0.1), "{i}: {cpu} and {gpu}");
            }
        }
    }

    #[test]
    fn a_shift_does_not_depend_on_how_many_samples_there_are() {
        for shape in [&IMAGES, &POINTS] {
            let values: usize = shape.dims.iter().product();
            let mut z = vec![0.0; 8 * values];
            normals(3, &mut z);
            let mut rig = Rig::new(shape, Device::Cpu, 8);
            let by = ByClassifier { scale: 0.7, class: None };
            let all = rig.shift(&z, by);
            for n in [1, 3, 5, 7] {
                assert!(rig.shift(&z[..n * values], by) == all[..n * values], "{n} samples");
            }
            rig.guide.rest(&mut rig.session, 8).unwrap();
            assert!(rig.session.read(rig.guide.shift(8)).unwrap().iter().all(|&shift| shift == 0.0));
        }
    }

    #[test]
    fn a_class_that_the_classifier_does_not_know_is_refused() {
        let rig = Rig::new(&POINTS, Device::Cpu, 2);
        let check = |class| rig.guide.check_class(ByClassifier { scale: 1.0, class: Some(class) });
        assert!(
            check(2).is_ok() && check(3).unwrap_err().to_string().contains("class 3: the classifier knows 3 classes")
        );
    }
}
