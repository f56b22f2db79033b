//! Runs a network on noised samples and returns its raw outputs to the host, where losses, likelihoods and features are
//! computed from them in `f64`.

use crate::Result;
use crate::diffusion::{NoiseLevel, Process};
use crate::engine::ops::noise_loss::noise;
use crate::engine::ops::philox::state_tensor;
use crate::engine::ops::records::NoiseRecord;
use crate::engine::random::RngState;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::nn::{Forward, ModelConfig, Network, Weights};

/// The recorded evaluation, and the tensors that it reads.
pub struct Probe {
    images: Tensor,
    coefficients: Tensor,
    time: Tensor,
    labels: Option<Tensor>,
    rng: Tensor,
    recorded: Option<Recorded>,
}

struct Recorded {
    program: Program,
    z: Tensor,
    eps: Tensor,
    out: Tensor,
}

/// Time of one sample: its noise level and the time input of the network.
#[derive(Clone, Copy, Debug)]
pub struct ProbePoint {
    /// Signal and noise scale.
    pub level: NoiseLevel,
    /// Time input of the network.
    pub network_time: f64,
}

impl ProbePoint {
    /// A time of a process.
    pub fn new(process: &Process, t: f64) -> ProbePoint {
        ProbePoint { level: process.level(t), network_time: process.network_time(t) }
    }
}

/// Result of a probe, for as many samples as were given.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The noisy samples `[n, h, w, c]`, the network's input.
    pub z: Vec<f32>,
    /// Their noise `[n, h, w, c]`.
    pub eps: Vec<f32>,
    /// The network's output `[n, h, w, out_channels]`.
    pub out: Vec<f32>,
}

impl Probe {
    /// Reserves the tensors for up to `chunk` samples at a time.
    pub fn reserve(store: &mut Store, model: &ModelConfig, chunk: usize) -> Probe {
        let [h, w, c] = model.sample_dims();
        Probe {
            images: store.tensor(&[chunk, h, w, c], DType::F32),
            coefficients: store.tensor(&[chunk, NoiseRecord::LEN], DType::F32),
            time: store.tensor(&[chunk], DType::F32),
            labels: (model.classes() > 0).then(|| store.tensor(&[chunk], DType::I32)),
            rng: state_tensor(store),
            recorded: None,
        }
    }

    /// Samples that go through the network together.
    pub fn chunk(&self) -> usize {
        self.time.dim(0)
    }

    /// Records the evaluation of a network with these weights, in the storage type of activations.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn load(&mut self, session: &mut Session, network: &Network, weights: &Weights, dtype: DType) -> Result<()> {
        let mut weights = weights.clone();
        weights.gradients = Tensor::EMPTY;
        let mut tape = Tape::new(session.backend(), dtype);
        let (z, eps) = noise(&mut tape, self.images, self.coefficients, self.rng);
        let out = network.forward(&mut Forward::evaluate(&mut tape, &weights), z, self.time, self.labels);
        for kept in [z, eps, out] {
            tape.keep(kept);
        }
        self.recorded = Some(Recorded { program: session.load(tape)?, z, eps, out });
        Ok(())
    }

    /// Adds noise to the samples `[n, h, w, c]`, each to its own point, and evaluates the network. The noise is a function
    /// of `rng` and of a sample's place; `labels` are read where the model is conditional.
    ///
    /// # Errors
    /// A failure of the device.
    ///
    /// # Panics
    /// If there are more samples than [`Probe::chunk`], or no network was loaded.
    pub fn ask(
        &mut self,
        session: &mut Session,
        samples: &[f32],
        points: &[ProbePoint],
        labels: &[i32],
        rng: RngState,
    ) -> Result<Answers> {
        let (chunk, n) = (self.chunk(), points.len());
        let values = self.images.numel() / chunk;
        assert!(n <= chunk && samples.len() == n * values, "{} values in {n} samples", samples.len());
        let padded = |mut v: Vec<f32>, len: usize| {
            v.resize(len, 0.0);
            v
        };
        let record =
            |p: &ProbePoint| NoiseRecord { a: p.level.a as f32, sigma: p.level.sigma as f32, c_x: 0.0, c_eps: 1.0 };
        let coefficients = points.iter().flat_map(|p| record(p).values().to_vec()).collect();
        let time = points.iter().map(|p| p.network_time as f32).collect();
        session.write(self.images, &padded(samples.to_vec(), chunk * values))?;
        session.write(self.coefficients, &padded(coefficients, NoiseRecord::LEN * chunk))?;
        session.write(self.time, &padded(time, chunk))?;
        session.write_i32(self.rng, &rng.words())?;
        if let Some(tensor) = self.labels {
            let mut labels = labels.to_vec();
            labels.resize(chunk, 0);
            session.write_i32(tensor, &labels)?;
        }
        let Recorded { program, z, eps, out } = self.recorded.as_mut().expect("a network was loaded");
        session.run(program)?;
        let mut read = |t: Tensor| -> Result<Vec<f32>> {
            let mut values = session.read_in(program, t)?;
            values.truncate(t.numel() / chunk * n);
            Ok(values)
        };
        Ok(Answers { z: read(*z)?, eps: read(*eps)?, out: read(*out)? })
    }
}
