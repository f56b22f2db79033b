//! Likelihood of a trained model by its probability flow: [`diffusion::flow`](crate::diffusion::flow) with the network's
//! slopes and traces. The trace of a Jacobian is that of the tape: a pass backward takes a probe `v` at the output to `J' v` at
//! the input, and `v' J v` is their product. Points of the plane have two unit vectors for probes, so their trace is exact;
//! images have random signs.

use crate::data::Dataset;
use crate::diffusion::flow::{Node, Slopes, dequantise, level_bits, log_likelihood, nodes};
use crate::diffusion::likelihood::bits_per_dim;
use crate::diffusion::{PredictionTarget, Process};
use crate::engine::device::Device;
use crate::engine::random::{Philox, RngState, Stream};
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, Weights};
use crate::sample::chunk_images;
use crate::train::ModelFile;
use crate::train::validation::MeanLoss;
use crate::{Error, Result, SampleKind};
use serde::Serialize;

/// The places of levels within their cells.
const DEQUANTISATION: Stream = Stream::new(18);
/// Random signs.
const PROBES: Stream = Stream::new(19);

/// Dimensions up to which the trace is exact.
const EXACT_DIMS: usize = 2;
/// Steps of the coarsest integral, and of the finest.
const STEPS: [usize; 2] = [32, 2048];

/// The size and the precision of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct FlowOptions {
    /// Number of samples, the first of the data set; at most all of them.
    pub samples: usize,
    /// Steps are doubled until the mean changes by less, in bits per dimension.
    pub tolerance: f64,
    /// Probes per image.
    pub probes: usize,
    /// Seed of the probes, and of the places of levels within their cells.
    pub seed: u64,
}

/// The likelihood of a set of samples.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FlowLikelihood {
    /// Samples evaluated.
    pub samples: usize,
    /// Bits per dimension; of points, of their density. The standard error has the samples and the probes in it.
    pub bits: MeanLoss,
    /// Steps of Heun's method.
    pub steps: usize,
    /// Change of the mean by the last doubling of the steps, bits per dimension.
    pub change: f64,
    /// The change that was asked for.
    pub tolerance: f64,
    /// Probes per sample; 0: the trace is exact.
    pub probes: usize,
    /// The range of times of the flow.
    pub times: [f64; 2],
}

/// A network with its gradient, on a device, in f32.
pub struct Flow {
    session: Session,
    program: Program,
    z: Tensor,
    time: Tensor,
    labels: Option<Tensor>,
    out: Tensor,
    /// The probe at the output.
    dout: Tensor,
    /// Its image at the input.
    dz: Tensor,
    process: Process,
    target: PredictionTarget,
}

/// Samples that are taken along the flow together.
struct Batch<'a> {
    labels: &'a [i32],
    /// Probes `[count][n, dims]`.
    probes: &'a [Vec<f32>],
    /// The factor of each probe's product in the trace.
    share: f64,
}

impl Flow {
    /// Puts a model on a device, for so many samples.
    ///
    /// # Errors
    /// An impossible configuration, or a device with too little memory.
    pub fn new(model: &ModelFile, device: Device, samples: usize) -> Result<Flow> {
        let (config, mut store) = (&model.config, Store::new());
        let [h, w, c] = config.model.sample_dims();
        // The reverse pass keeps what a forward pass forgets.
        let n = (chunk_images(device.backend(), h * w * c) / 2).min(samples).max(1);
        let weights = Weights::reserve(&mut store, &model.params, DType::F32, false);
        let z = store.tensor(&[n, h, w, c], DType::F32);
        let time = store.tensor(&[n], DType::F32);
        let labels = (config.model.classes() > 0).then(|| store.tensor(&[n], DType::I32));
        let dout = store.tensor(&[n, h, w, config.model.out_channels()], DType::F32);
        let mut session = Session::new(device, &store)?;
        weights.write(&mut session, &model.values)?;
        let mut tape = Tape::new(session.backend(), DType::F32);
        tape.watch(z);
        let out = model.network.forward(&mut Forward::evaluate(&mut tape, &weights), z, time, labels);
        tape.keep(out);
        let dz = tape.pull_back(z, out, dout);
        let program = session.load(tape)?;
        let (process, target) = (config.diffusion.process()?, config.diffusion.target);
        Ok(Flow { session, program, z, time, labels, out, dout, dz, process, target })
    }

    fn dims(&self) -> usize {
        self.z.numel() / self.z.dim(0)
    }

    /// The output for `z [n, dims]`, `[n, dims]` without the channels of a variance, and `J' v` for a probe of that shape.
    fn pull_back(&mut self, z: &[f32], probe: &[f32]) -> Result<[Vec<f32>; 2]> {
        let [c, m] = [self.z.dim(3), self.out.dim(3)];
        let fill = |values: &[f32], len: usize| {
            let mut padded = values.to_vec();
            padded.resize(len, 0.0);
            padded
        };
        self.session.write(self.z, &fill(z, self.z.numel()))?;
        let spread: Vec<f32> =
            probe.chunks_exact(c).flat_map(|pixel| (0..m).map(|k| pixel.get(k).copied().unwrap_or(0.0))).collect();
        self.session.write(self.dout, &fill(&spread, self.dout.numel()))?;
        self.session.run(&mut self.program)?;
        let mut out = self.session.read_in(&self.program, self.out)?;
        if m > c {
            out = out.chunks_exact(m).flat_map(|pixel| pixel[..c].to_vec()).collect();
        }
        let mut dz = self.session.read_in(&self.program, self.dz)?;
        [&mut out, &mut dz].into_iter().for_each(|values| values.truncate(z.len()));
        Ok([out, dz])
    }

    /// The slopes of `u [n, dims]` at a node.
    fn slopes(&mut self, node: &Node, u: &[f64], batch: &Batch) -> Result<Slopes> {
        let (dims, chunk) = (self.dims(), self.time.dim(0));
        let z: Vec<f32> = u.iter().map(|u| (node.norm() * u) as f32).collect();
        self.session.write(self.time, &vec![self.process.network_time(node.time) as f32; chunk])?;
        if let Some(labels) = self.labels {
            let mut padded = batch.labels.to_vec();
            padded.resize(chunk, 0);
            self.session.write_i32(labels, &padded)?;
        }
        let (mut du, mut traces) = (Vec::new(), vec![0.0; u.len() / dims]);
        for probe in batch.probes {
            let [out, dz] = self.pull_back(&z, probe)?;
            if du.is_empty() {
                du = z.iter().zip(&out).map(|(&z, &out)| node.slope(z.into(), out.into())).collect();
            }
            let of_sample = probe.chunks_exact(dims).zip(dz.chunks_exact(dims));
            for (trace, (probe, dz)) in traces.iter_mut().zip(of_sample) {
                let product: f64 = probe.iter().zip(dz).map(|(v, dz)| f64::from(*v) * f64::from(*dz)).sum();
                *trace += batch.share * product;
            }
        }
        Ok(Slopes { du, divergence: traces.iter().map(|&trace| node.divergence(dims, trace)).collect() })
    }

    /// Log likelihood of samples in nats, in so many steps; `evaluated` hears of each evaluation of the network.
    fn log_likelihood(
        &mut self,
        nodes: &[Node],
        x: &[f64],
        batch: &Batch,
        evaluated: &mut dyn FnMut(),
    ) -> Result<Vec<f64>> {
        log_likelihood(nodes, x, self.dims(), |node, u| {
            evaluated();
            self.slopes(node, u, batch)
        })
    }

    /// The likelihood of the first samples of a data set. `progress` receives the evaluations of the network that are done, each
    /// of a batch, and those of the present number of steps.
    ///
    /// # Errors
    /// Samples of another size, no probes, a tolerance that is not positive, or what the device reports.
    pub fn likelihood(
        &mut self,
        dataset: &Dataset,
        options: FlowOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FlowLikelihood> {
        let dims: [usize; 4] = self.z.dims()[..].try_into().expect("images have four dimensions");
        if dataset.image_dims() != dims[1..] {
            let (name, found) = (dataset.name(), dataset.image_dims());
            return Err(Error::Config(format!(
                "likelihood: samples of {:?} are wanted, {name} has {found:?}",
                &dims[1..]
            )));
        }
        let is_positive = options.tolerance.is_finite() && options.tolerance > 0.0;
        if options.probes == 0 || !is_positive || options.samples == 0 {
            return Err(Error::Config(format!(
                "likelihood: wanted samples, probes and a positive tolerance, not {}, {} and {}",
                options.samples, options.probes, options.tolerance
            )));
        }
        let n = options.samples.min(dataset.len());
        let mut steps = STEPS[0];
        let mut before = self.bits(dataset, n, options, steps, progress)?;
        loop {
            steps *= 2;
            let bits = self.bits(dataset, n, options, steps, progress)?;
            let (old, new) = (MeanLoss::of(&before), MeanLoss::of(&bits));
            let nodes = nodes(&self.process, self.target, steps)?;
            let is_all = nodes.len() <= steps / 2 + 1;
            let change = (new.loss - old.loss).abs();
            if change <= options.tolerance || steps >= STEPS[1] || is_all {
                let is_exact = self.dims() <= EXACT_DIMS;
                return Ok(FlowLikelihood {
                    samples: n,
                    bits: new,
                    steps: nodes.len() - 1,
                    change,
                    tolerance: options.tolerance,
                    probes: if is_exact { 0 } else { options.probes },
                    times: [nodes[0].time, nodes[nodes.len() - 1].time],
                });
            }
            before = bits;
        }
    }

    /// Bits per dimension of each of the first `n` samples.
    fn bits(
        &mut self,
        dataset: &Dataset,
        n: usize,
        options: FlowOptions,
        steps: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<f64>> {
        let nodes = nodes(&self.process, self.target, steps)?;
        let (dims, chunk) = (self.dims(), self.time.dim(0));
        let total = (n.div_ceil(chunk) * 2 * (nodes.len() - 1)) as u64;
        let (mut done, mut bits) = (0, Vec::with_capacity(n));
        let is_points = SampleKind::of(dataset.image_dims()) == SampleKind::Points;
        for first in (0..n).step_by(chunk) {
            let indices: Vec<usize> = (first..n.min(first + chunk)).collect();
            let mut x = vec![0.0; indices.len() * dims];
            dataset.fill_batch(&indices, &vec![false; indices.len()], &mut x)?;
            let mut labels = vec![0; indices.len()];
            if self.labels.is_some() {
                dataset.fill_labels(&indices, &mut labels);
            }
            let state = RngState { seed: options.seed, step: 0, first_image: first as u32 };
            let x: Vec<f64> = match is_points {
                true => x.iter().map(|&x| f64::from(x)).collect(),
                false => within_cells(&x, dims, state),
            };
            let probes = match dims <= EXACT_DIMS {
                true => unit_vectors(indices.len(), dims),
                false => signs(indices.len(), dims, options.probes, state),
            };
            let share = if dims <= EXACT_DIMS { 1.0 } else { 1.0 / options.probes as f64 };
            let batch = Batch { labels: &labels, probes: &probes, share };
            let found = self.log_likelihood(&nodes, &x, &batch, &mut || {
                done += 1;
                progress(done, total);
            })?;
            bits.extend(found.into_iter().map(|ln_p| match is_points {
                true => bits_per_dim(-ln_p, dims),
                false => level_bits(ln_p, dims),
            }));
        }
        match bits.iter().position(|bits| !bits.is_finite()) {
            Some(sample) => Err(Error::SampleNotFinite { sample }),
            None => Ok(bits),
        }
    }
}

/// Images of 256 levels, each value at a random place in its cell.
fn within_cells(x: &[f32], dims: usize, state: RngState) -> Vec<f64> {
    let philox = Philox::new(state, DEQUANTISATION);
    let mut u = vec![0.0; x.len()];
    u.chunks_exact_mut(dims).enumerate().for_each(|(i, u)| philox.fill_uniform(i as u32, 0, u));
    x.iter().zip(u).map(|(&x, u)| f64::from(x) + dequantise(f64::from(u))).collect()
}

/// The unit vectors of `n` samples.
fn unit_vectors(n: usize, dims: usize) -> Vec<Vec<f32>> {
    let unit = |axis: usize| (0..n * dims).map(|i| f32::from(u8::from(i % dims == axis))).collect();
    (0..dims).map(unit).collect()
}

/// Random signs: `count` probes for each of `n` samples.
fn signs(n: usize, dims: usize, count: usize, state: RngState) -> Vec<Vec<f32>> {
    let probe = |k: usize| {
        let philox = Philox::new(RngState { step: k as u32, ..state }, PROBES);
        let mut words = vec![0; n * dims];
        words.chunks_exact_mut(dims).enumerate().for_each(|(i, words)| philox.fill_words(i as u32, 0, words));
        words.into_iter().map(|word| if word >> 31 == 0 { -1.0 } else { 1.0 }).collect()
    };
    (0..count).map(probe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, DataOptions, Split};
    use crate::train::Config;
    use crate::train::model_file::network;
    use crate::train::random::initial_weights;

    /// A network of random weights, of those too that start at zero: all are moved by so much.
    fn model(settings: &[&str], by: f32) -> ModelFile {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        let config = Config::default().with_settings(&settings).unwrap();
        let (network, params) = network(&config).unwrap();
        let values = initial_weights(&params, 5).iter().map(|w| w + by).collect();
        ModelFile { config, network, params, values, origin: String::new(), notes: Vec::new() }
    }

    const IMAGES: [&str; 7] = [
        "model.in_channels=1",
        "model.out_channels=1",
        "model.image_size=4",
        "model.channels=[4]",
        "model.groups=2",
        "model.attention_levels=[]",
        "model.classes=0",
    ];
    const POINTS: [&str; 4] =
        ["model.architecture=mlp", "data.source=rings", "diffusion.schedule=vp-cosine", "diffusion.target=v"];

    fn node(flow: &Flow, k: usize) -> Node {
        nodes(&flow.process, flow.target, 8).unwrap()[k]
    }

    /// Every unit vector as a probe gives the whole trace, which differences of the slope give too.
    #[test]
    fn the_trace_is_that_of_finite_differences() {
        let learned = [&IMAGES[..], &["model.out_channels=2"]].concat();
        for (settings, by) in [(&IMAGES[..], 0.02), (&POINTS, 0.002), (&learned, 0.02)] {
            let mut flow = Flow::new(&model(settings, by), Device::Cpu, 2).unwrap();
            let (dims, node) = (flow.dims(), node(&flow, 5));
            let probes = unit_vectors(2, dims);
            let batch = Batch { labels: &[0, 0], probes: &probes, share: 1.0 };
            let y: Vec<f64> = (0..2 * dims).map(|i| (i as f64 * 0.7).sin()).collect();
            let found = flow.slopes(&node, &y, &batch).unwrap();
            let (h, mut traces) = (1e-3, [0.0; 2]);
            for (i, trace) in (0..2 * dims).map(|i| (i, i / dims)) {
                let mut slope = |by: f64| {
                    let mut moved = y.clone();
                    moved[i] += by;
                    flow.slopes(&node, &moved, &batch).unwrap().du[i]
                };
                traces[trace] += (8.0 * (slope(h) - slope(-h)) - (slope(2.0 * h) - slope(-2.0 * h))) / (12.0 * h);
            }
            for (got, want) in found.divergence.iter().zip(traces) {
                assert!((got - want).abs() <= 5e-3 * want.abs().max(1.0), "{settings:?}: {got}, differences {want}");
            }
        }
    }

    /// The mean over many seeds of the estimate is the exact trace, within five standard errors; the same seed repeats itself.
    #[test]
    fn random_signs_estimate_the_trace_without_bias() {
        let mut flow = Flow::new(&model(&IMAGES, 0.02), Device::Cpu, 1).unwrap();
        let (dims, node) = (flow.dims(), node(&flow, 5));
        let y: Vec<f64> = (0..dims).map(|i| (i as f64 * 0.7).sin()).collect();
        let mut trace = |probes: &[Vec<f32>], share: f64| {
            flow.slopes(&node, &y, &Batch { labels: &[0], probes, share }).unwrap().divergence[0]
        };
        let exact = trace(&unit_vectors(1, dims), 1.0);
        let state = |seed| RngState { seed, step: 0, first_image: 0 };
        let estimates: Vec<f64> = (0..400).map(|seed| trace(&signs(1, dims, 1, state(seed)), 1.0)).collect();
        let MeanLoss { loss, standard_error } = MeanLoss::of(&estimates);
        assert!((loss - exact).abs() <= 5.0 * standard_error, "{loss} ± {standard_error}, exactly {exact}");
        assert!(standard_error > 0.0, "{standard_error}");
        assert_eq!(trace(&signs(1, dims, 2, state(7)), 0.5), trace(&signs(1, dims, 2, state(7)), 0.5));
        assert!(
            (0.5 * (estimates[7] + trace(&signs(1, dims, 2, state(7))[1..], 1.0))
                - trace(&signs(1, dims, 2, state(7)), 0.5))
            .abs()
                <= 1e-5
        );
    }

    /// A network of zero output that predicts `v` leaves `u` where it is: the density is that of the noise at the end.
    #[test]
    fn a_network_that_does_nothing_leaves_the_density_of_the_noise() {
        let mut model = model(&POINTS, 0.0);
        model.values.fill(0.0);
        let mut flow = Flow::new(&model, Device::Cpu, 10).unwrap();
        let data = data::open("rings", Split::Test, &DataOptions::default()).unwrap();
        let options = FlowOptions { samples: 10, tolerance: 1e-3, probes: 1, seed: 3 };
        let mut told = Vec::new();
        let found = flow.likelihood(&data, options, &mut |done, total| told.push((done, total))).unwrap();
        let level = flow.process.level(0.001);
        let deviation = level.norm() / level.a;
        let of_point = |point: &[f32]| {
            let squares: f64 = point.iter().map(|x| (f64::from(*x) / deviation).powi(2)).sum();
            bits_per_dim(0.5 * squares + std::f64::consts::TAU.ln() + 2.0 * deviation.ln(), 2)
        };
        let want = data.points().unwrap()[..20].chunks_exact(2).map(of_point).sum::<f64>() / 10.0;
        assert!((found.bits.loss - want).abs() <= 1e-5, "{found:?}, not {want}");
        assert_eq!((found.probes, found.steps, found.samples, found.times), (0, 64, 10, [0.001, 0.999]));
        assert_eq!((told[0], told[told.len() - 1]), ((1, 64), (128, 128)));
    }

    #[test]
    fn levels_are_spread_over_their_cells_and_repeat_themselves() {
        let x = vec![0.2; 4 * 5000];
        let state = RngState { seed: 1, step: 0, first_image: 0 };
        let y = within_cells(&x, 4, state);
        assert_eq!(y, within_cells(&x, 4, state));
        let away: Vec<f64> = y.iter().map(|y| (y - f64::from(0.2f32)) * 255.0).collect();
        assert!(away.iter().all(|away| away.abs() <= 1.0));
        let MeanLoss { loss, standard_error } = MeanLoss::of(&away);
        assert!(
            loss.abs() <= 4.0 * standard_error && (standard_error - (1.0f64 / 3.0 / 20_000.0).sqrt()).abs() <= 1e-4
        );
    }
}
