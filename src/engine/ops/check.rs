//! The harness that every op's tests go through: an op against a naive float64 oracle, its gradient against central
//! differences of that oracle, on every device there is.
//!
//! - `cpu` in f32 against the oracle, elementwise.
//! - `emu` (several schedules) and, where one answers, `cuda`: f32 against the oracle and bf16 against the oracle on
//!   bf16-rounded inputs.
//! - [`Check::hopper`]: `emu` acting as compute capability 9.0 too, in bf16, for ops that have kernels of their own for it.
//!
//! | variable | effect |
//! |---|---|
//! | `DDPM_TEST_DEVICES=cuda,emu` | only these kinds of device, of `cpu`, `emu` and `cuda`; one that is not there is a failure |
//! | `DDPM_REQUIRE_GPU=1` | that no GPU answers is a failure |
//! | `DDPM_REQUIRE_TESTS=1` | a build without the emulator is a failure, and so is every [`skip!`](crate::skip) |
//! | `DDPM_TEST_SHAPES=few` | the first shapes alone of a test that has many |
//! | `DDPM_TEST_SCHEDULES=all` | every layer of the benchmark models in every schedule, not in one: minutes |
//! | `DDPM_LAUNCHED_KERNELS=FILE` | a line is added to it for each kernel that a test launches: kernel, device, test |
//!
//! An element passes if `|got - want| <= tolerance * (|want| + rms(want))`, so a NaN fails.

mod targets;
mod witness;

use crate::engine::device::Capability;
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use half::bf16;
use targets::emulated_hopper;
pub use targets::{NO_HOPPER, Target, emulated, emulator, has_gpu, hopper_devices, is_wanted, targets};
pub use witness::{note_launched, witnessed};

/// How an input is stored, and whether its gradient is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Storage type, gradient in storage type.
    Activation,
    /// Storage type, f32 gradient in a fixed place.
    Weight,
    /// f32, f32 gradient in a fixed place.
    Parameter,
    /// Storage type, no gradient.
    Detached,
    /// f32, no gradient.
    Constant,
    /// Integers, no gradient.
    Labels,
}

/// Shapes of images: channels that no vector divides, with a tail and without, and whole vectors.
pub const IMAGES: [[usize; 4]; 3] = [[1, 5, 7, 3], [3, 4, 4, 35], [2, 8, 8, 32]];

/// Images `[n, h, w, c]` from the value at (image, row, column, channel): for oracles.
pub fn images([n, h, w, c]: [usize; 4], value: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f64> {
    let place = |index: usize| (index / (h * w * c), index / (w * c) % h, index / c % w, index % c);
    let at = |index: usize| {
        let (image, i, j, k) = place(index);
        value(image, i, j, k)
    };
    (0..n * h * w * c).map(at).collect()
}

/// One operand of the op under test.
#[derive(Clone, Debug)]
pub struct Input {
    kind: Kind,
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Input {
    fn random(kind: Kind, dims: &[usize]) -> Input {
        let n: usize = dims.iter().product();
        let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (n as u64) << 32 ^ dims.iter().fold(7, |h, &d| h * 31 + d as u64);
        let mut uniform = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let values = (0..n).map(|_| 2.0 * (uniform() + uniform() + uniform())).collect();
        Input { kind, dims: dims.into(), values }
    }

    /// Values about N(0, 1) in the storage type; their gradient is checked.
    pub fn activation(dims: &[usize]) -> Input {
        Input::random(Kind::Activation, dims)
    }

    /// A weight: stored like an activation, but with an f32 gradient.
    pub fn weight(dims: &[usize]) -> Input {
        Input::random(Kind::Weight, dims)
    }

    /// An f32 parameter such as a bias.
    pub fn parameter(dims: &[usize]) -> Input {
        Input::random(Kind::Parameter, dims)
    }

    /// f32 values without a gradient.
    pub fn constant(dims: &[usize], values: Vec<f32>) -> Input {
        Input { kind: Kind::Constant, dims: dims.into(), values }
    }

    /// Values in the storage type, without a gradient.
    pub fn stored(dims: &[usize], values: Vec<f32>) -> Input {
        Input { kind: Kind::Detached, dims: dims.into(), values }
    }

    /// Integer labels.
    pub fn labels(values: &[i32]) -> Input {
        let bits = values.iter().map(|&v| v as f32).collect();
        Input { kind: Kind::Labels, dims: vec![values.len()], values: bits }
    }

    /// The same operand without a gradient.
    pub fn detached(self) -> Input {
        let kind = match self.kind {
            Kind::Activation | Kind::Weight => Kind::Detached,
            Kind::Parameter => Kind::Constant,
            kind => kind,
        };
        Input { kind, ..self }
    }

    /// The same operand with every value scaled.
    pub fn scaled(mut self, factor: f32) -> Input {
        self.values.iter_mut().for_each(|v| *v *= factor);
        self
    }

    /// The same operand with given values, by their index.
    pub fn filled(mut self, value: impl Fn(usize) -> f32) -> Input {
        self.values.iter_mut().enumerate().for_each(|(i, v)| *v = value(i));
        self
    }

    /// The values as bf16 stores them.
    pub fn in_bf16(&self) -> Vec<f32> {
        self.values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect()
    }

    fn differentiable(&self) -> bool {
        matches!(self.kind, Kind::Activation | Kind::Weight | Kind::Parameter)
    }

    fn dtype(&self, storage: DType) -> DType {
        match self.kind {
            Kind::Activation | Kind::Weight | Kind::Detached => storage,
            Kind::Parameter | Kind::Constant => DType::F32,
            Kind::Labels => DType::I32,
        }
    }
}

/// Shapes of a test whose kernels do a lot of arithmetic: all of them, or the first two under ThreadSanitizer, which takes
/// seconds for a shape, and under `DDPM_TEST_SHAPES=few`. The first two should take every path through a kernel and several
/// turns of its loops.
pub fn few<T, const N: usize>(shapes: [T; N]) -> impl Iterator<Item = T> {
    shapes.into_iter().take(if is_short() { 2 } else { N })
}

/// True if tests with many shapes run only the first two.
pub fn is_short() -> bool {
    cfg!(ddpm_emu_sanitize = "thread") || std::env::var("DDPM_TEST_SHAPES").is_ok_and(|v| v == "few")
}

/// True if tests that take minutes in all schedules run in all.
pub fn is_thorough() -> bool {
    std::env::var("DDPM_TEST_SCHEDULES").is_ok_and(|v| v == "all")
}

/// An op's result and gradients on one device.
#[derive(Debug)]
pub struct Outcome {
    /// The device.
    pub name: String,
    /// Storage type of activations.
    pub dtype: DType,
    pub result: Vec<f32>,
    /// Gradients of the inputs that have one.
    pub gradients: Vec<Option<Vec<f32>>>,
    /// The inputs as stored.
    inputs: Vec<Vec<f64>>,
    /// The gradient of the result.
    upstream: Vec<f32>,
}

/// Tolerances of a check; see the [module](self) documentation for what they mean.
#[derive(Clone, Debug)]
pub struct Check {
    /// f32 results and gradients.
    pub f32_tolerance: f64,
    /// bf16 results and gradients.
    pub bf16_tolerance: f64,
    /// At most so many elements of each gradient are compared with central differences.
    pub samples: usize,
    /// Kernels that must be among those launched where compute capability 9.0 computes in bf16; none: no such run is made.
    pub hopper_kernels: Option<&'static [&'static str]>,
}

impl Default for Check {
    fn default() -> Check {
        Check { f32_tolerance: 2e-5, bf16_tolerance: 2e-2, samples: 48, hopper_kernels: None }
    }
}

impl Check {
    /// Runs the op on compute capability 9.0 too, in bf16, for which it has kernels of its own: it must launch these.
    pub fn hopper(self, kernels: &'static [&'static str]) -> Check {
        Check { hopper_kernels: Some(kernels), ..self }
    }

    /// Checks the op that `build` records, given the inputs in order. `oracle` gets the same inputs as float64 vectors and
    /// returns the correct result.
    pub fn run(
        &self,
        inputs: &[Input],
        build: impl Fn(&mut Tape, &[Tensor]) -> Tensor,
        oracle: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        for target in self.targets() {
            let outcome = self.run_on(&target, inputs, &build);
            self.compare_with(&oracle, inputs, &outcome);
        }
    }

    /// Runs the op on every device, for a test that compares it with another.
    pub fn outcomes(&self, inputs: &[Input], build: impl Fn(&mut Tape, &[Tensor]) -> Tensor) -> Vec<Outcome> {
        self.targets().iter().map(|target| self.run_on(target, inputs, &build)).collect()
    }

    fn targets(&self) -> Vec<Target> {
        let hopper = if self.hopper_kernels.is_some() { emulated_hopper() } else { Vec::new() };
        targets().into_iter().chain(hopper).collect()
    }

    fn run_on(&self, target: &Target, inputs: &[Input], build: &impl Fn(&mut Tape, &[Tensor]) -> Tensor) -> Outcome {
        let mut store = Store::new();
        let tensors: Vec<Tensor> = inputs.iter().map(|i| store.tensor(&i.dims, i.dtype(target.dtype))).collect();
        let fixed: Vec<Option<Tensor>> = inputs
            .iter()
            .map(|i| matches!(i.kind, Kind::Weight | Kind::Parameter).then(|| store.tensor(&i.dims, DType::F32)))
            .collect();

        // The result's shape is known only after recording: record once to learn it.
        let device = target.open();
        let backend = device.backend();
        let probe = build(&mut Tape::new(backend, target.dtype), &tensors);
        let dy = store.tensor(&probe.dims(), probe.dtype());

        let mut session = Session::new(device, &store).unwrap();
        let mut tape = Tape::new(backend, target.dtype);
        for ((input, &t), &gradient) in inputs.iter().zip(&tensors).zip(&fixed) {
            match gradient {
                Some(gradient) => tape.parameter(t, gradient),
                None if input.differentiable() => tape.watch(t),
                None => {}
            }
        }
        let y = build(&mut tape, &tensors);
        tape.keep(y);
        let differentiate = tape.needs_grad(y);
        let mut gradients = vec![None; inputs.len()];
        if differentiate {
            tape.seed_grad(y, dy);
            tape.backward();
            for (i, input) in inputs.iter().enumerate() {
                if input.differentiable() {
                    let g = tape.grad(tensors[i]);
                    tape.keep(g);
                    gradients[i] = Some(g);
                }
            }
        }

        let round = |values: &[f32], dtype: DType| -> Vec<f32> {
            match dtype {
                DType::Bf16 => values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
                _ => values.to_vec(),
            }
        };
        let mut exact: Vec<Vec<f64>> = Vec::new();
        for (input, &t) in inputs.iter().zip(&tensors) {
            let values = round(&input.values, t.dtype());
            match t.dtype() {
                DType::I32 => session.write_i32(t, &values.iter().map(|&v| v as i32).collect::<Vec<_>>()).unwrap(),
                _ => session.write(t, &values).unwrap(),
            }
            exact.push(values.iter().map(|&v| v as f64).collect());
        }
        let upstream = round(&Input::activation(&dy.dims()).values, dy.dtype());
        session.write(dy, &upstream).unwrap();

        let mut program = session.load(tape).unwrap();
        session.run(&mut program).unwrap_or_else(|e| panic!("{} {:?}: {e}", target.name, target.dtype));
        if let Some(wanted) = self.hopper_kernels
            && backend.capability() == Capability::Hopper
            && target.dtype == DType::Bf16
        {
            let launched: Vec<&str> = program.kernels().collect();
            for kernel in wanted {
                assert!(launched.contains(kernel), "{}: {kernel} is not among {launched:?}", target.name);
            }
        }
        let mut read = |t: Tensor| session.read_in(&program, t).unwrap();
        let gradients = gradients.into_iter().map(|gradient| gradient.map(&mut read)).collect();
        Outcome { name: target.name.clone(), dtype: target.dtype, result: read(y), gradients, inputs: exact, upstream }
    }

    fn compare_with(&self, oracle: &impl Fn(&[Vec<f64>]) -> Vec<f64>, inputs: &[Input], outcome: &Outcome) {
        let tolerance = if outcome.dtype == DType::Bf16 { self.bf16_tolerance } else { self.f32_tolerance };
        let shapes: Vec<_> = inputs.iter().map(|i| i.dims.clone()).collect();
        let label = |what: &str| format!("{what} on {} in {:?}, inputs {shapes:?}", outcome.name, outcome.dtype);
        compare(&label("result"), &outcome.result, &oracle(&outcome.inputs), tolerance);

        for (i, gradient) in outcome.gradients.iter().enumerate() {
            let Some(got) = gradient else { continue };
            let objective =
                |x: &[Vec<f64>]| -> f64 { oracle(x).iter().zip(&outcome.upstream).map(|(y, &d)| y * d as f64).sum() };
            let n = inputs[i].values.len();
            let stride = n.div_ceil(self.samples).max(1) | 1;
            let (mut picked, mut want) = (Vec::new(), Vec::new());
            let mut x = outcome.inputs.clone();
            for j in (0..n).step_by(stride) {
                const H: f64 = 1e-5;
                let at = x[i][j];
                x[i][j] = at + H;
                let above = objective(&x);
                x[i][j] = at - H;
                let below = objective(&x);
                x[i][j] = at;
                picked.push(got[j]);
                want.push((above - below) / (2.0 * H));
            }
            assert!(got.iter().all(|g| g.is_finite()), "{}: not finite", label("gradient"));
            compare(&label(&format!("gradient of input {i}")), &picked, &want, 2.0 * tolerance);
        }
    }
}

/// Panics unless `|got - want| <= tolerance * (|want| + rms(want))` for every element.
pub fn compare(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64).sqrt();
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let err = (got as f64 - want).abs();
        let bound = tolerance * (want.abs() + rms) + 1e-30;
        assert!(err <= bound, "{what}: element {i} is {got}, not {want} (off by {err:.3e}, allowed {bound:.3e})");
    }
}
