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
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The evaluation, recorded for as many samples as were asked for, and the tensors of the most that there can be.
pub struct Probe {
    images: Tensor,
    coefficients: Tensor,
    time: Tensor,
    labels: Option<Tensor>,
    rng: Tensor,
    loaded: Option<Loaded>,
    /// By the number of samples.
    recorded: HashMap<usize, Recorded>,
}

/// A network, and how its activations are stored.
struct Loaded {
    network: Network,
    weights: Weights,
    dtype: DType,
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
            loaded: None,
            recorded: HashMap::new(),
        }
    }

    /// Most samples that go through the network together.
    pub fn chunk(&self) -> usize {
        self.time.dim(0)
    }

    /// Takes a network with these weights, and the storage type of activations.
    pub fn load(&mut self, network: &Network, weights: &Weights, dtype: DType) {
        self.loaded = Some(Loaded { network: network.clone(), weights: weights.without_gradients(), dtype });
        self.recorded.clear();
    }

    /// Records the evaluation of `n` samples at a time. Asking does so where it was not done before.
    ///
    /// # Errors
    /// When the device has not enough memory.
    ///
    /// # Panics
    /// If no network was loaded.
    pub fn prepare(&mut self, session: &mut Session, n: usize) -> Result<()> {
        let Entry::Vacant(entry) = self.recorded.entry(n) else { return Ok(()) };
        let Loaded { network, weights, dtype } = self.loaded.as_ref().expect("a network was loaded");
        let first = |whole: Tensor| Store::first(whole, n);
        let mut tape = Tape::new(session.backend(), *dtype);
        let (z, eps) = noise(&mut tape, first(self.images), first(self.coefficients), self.rng);
        let mut forward = Forward::evaluate(&mut tape, weights);
        let out = network.forward(&mut forward, z, first(self.time), self.labels.map(first));
        for kept in [z, eps, out] {
            tape.keep(kept);
        }
        entry.insert(Recorded { program: session.load(tape)?, z, eps, out });
        Ok(())
    }

    /// Adds noise to the samples `[n, h, w, c]`, each to its own point, and evaluates the network. The noise is a function
    /// of `rng` and of a sample's place; `labels` are read where the model is conditional.
    ///
    /// # Errors
    /// A failure of the device, or too little memory.
    ///
    /// # Panics
    /// If there are none or more samples than [`Probe::chunk`], or no network was loaded.
    pub fn ask(
        &mut self,
        session: &mut Session,
        samples: &[f32],
        points: &[ProbePoint],
        labels: &[i32],
        rng: RngState,
    ) -> Result<Answers> {
        let (n, values) = (points.len(), self.images.numel() / self.chunk());
        assert!(
            (1..=self.chunk()).contains(&n) && samples.len() == n * values,
            "{} values in {n} samples",
            samples.len()
        );
        self.prepare(session, n)?;
        let record =
            |p: &ProbePoint| NoiseRecord { a: p.level.a as f32, sigma: p.level.sigma as f32, c_x: 0.0, c_eps: 1.0 };
        let coefficients: Vec<f32> = points.iter().flat_map(|p| record(p).values().to_vec()).collect();
        let time: Vec<f32> = points.iter().map(|p| p.network_time as f32).collect();
        session.write(Store::first(self.images, n), samples)?;
        session.write(Store::first(self.coefficients, n), &coefficients)?;
        session.write(Store::first(self.time, n), &time)?;
        session.write_i32(self.rng, &rng.words())?;
        if let Some(tensor) = self.labels {
            let mut labels = labels.to_vec();
            labels.resize(n, 0);
            session.write_i32(Store::first(tensor, n), &labels)?;
        }
        let Recorded { program, z, eps, out } = self.recorded.get_mut(&n).expect("it was recorded");
        session.run(program)?;
        let mut read = |t: Tensor| session.read_in(program, t);
        Ok(Answers { z: read(*z)?, eps: read(*eps)?, out: read(*out)? })
    }
}
