//! The optimiser, one pass over all parameters: clip, Adam or AdamW (Loshchilov and Hutter 2019), moving average, bf16
//! copy.
//!
//! ```text
//! g <- g min(1, max_norm / (norm + 1e-6)) if max_norm > 0
//! Adam:  g <- g + decay p          AdamW:  p <- p - lr decay p
//! m <- beta1 m + (1 - beta1) g     v <- beta2 v + (1 - beta2) g^2
//! p <- p - lr (m c1) / (sqrt(v c2) + eps),  c1 = 1 / (1 - beta1^t),  c2 = 1 / (1 - beta2^t)
//! ema <- ema + (1 - ema_decay) (p - ema)
//! ```
//! Further averages of the parameters have decays of their own, and are formed in the same pass.
//! If the norm of the gradients is not finite, nothing is changed.

use crate::engine::device::Memory;
use crate::engine::ops::records::AdamRecord;
use crate::engine::simd;
use crate::engine::tape::geometry::flat;
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::{DType, Tensor};
use bytemuck::{cast_slice, from_bytes};

/// Numbers that change from step to step: the tensor `hyper` holds their [`AdamHyper::record`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamHyper {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Keeps the denominator from zero.
    pub epsilon: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Number of this step, counted from 1.
    pub step: u64,
    /// Share of the moving average that stays.
    pub ema_decay: f32,
}

impl AdamHyper {
    /// The numbers as the update reads them, with the corrections of the moments.
    pub fn record(self) -> AdamRecord {
        let correction = |beta: f32| (1.0 / (1.0 - (beta as f64).powf(self.step as f64))) as f32;
        AdamRecord {
            lr: self.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.epsilon,
            decay: self.weight_decay,
            c1: correction(self.beta1),
            c2: correction(self.beta2),
            ema_decay: self.ema_decay,
        }
    }
}

/// Flat arrays that one step reads and writes, all of n elements.
#[derive(Clone, Copy, Debug)]
pub struct AdamTensors {
    /// Parameters, f32.
    pub p: Tensor,
    /// First moments, f32.
    pub m: Tensor,
    /// Second moments, f32.
    pub v: Tensor,
    /// Moving average of the parameters, f32.
    pub ema: Tensor,
    /// Further averages `[k, n]` f32; [`Tensor::EMPTY`] where there are none.
    pub further: Tensor,
    /// Their decays `[k]` f32, which change from step to step; as `further`.
    pub decays: Tensor,
    /// The parameters in bf16, for kernels to read; [`Tensor::EMPTY`] where there are none.
    pub copy: Tensor,
    /// Gradients, f32.
    pub g: Tensor,
}

/// Records one step. `decoupled` selects AdamW; `max_norm` = 0 does not clip.
///
/// # Shapes
/// `hyper [LEN]` f32, an [`AdamRecord`]; `outcome [3]` f32 of [`grad_norm`](super::grad_norm::grad_norm).
pub fn adam(tape: &mut Tape, tensors: AdamTensors, hyper: Tensor, outcome: Tensor, max_norm: f32, decoupled: bool) {
    let AdamTensors { p, m, v, ema, further, decays, copy, g } = tensors;
    let fits = |t: Tensor| t.numel() == p.numel() && t.dtype() == DType::F32;
    assert!(
        [p, m, v, ema, g].into_iter().all(fits) && hyper.dims() == [AdamRecord::LEN] && outcome.dims() == [3],
        "{tensors:?}"
    );
    assert!(further.is_empty() || further.dims() == [decays.numel(), p.numel()], "{tensors:?}");
    assert!(copy.is_empty() || (copy.numel() == p.numel() && copy.dtype() == DType::Bf16), "{tensors:?}");
    tape.push(Adam { p, m, v, ema, further, copy, g, hyper, outcome, decays, max_norm, decoupled });
}

op! {
    struct Adam = "adam" {
        inout p,     // [n] f32
        inout m,     // [n] f32
        inout v,     // [n] f32
        inout ema,   // [n] f32
        inout further,  // [k, n] f32; may be absent
        out copy,    // [n] bf16; may be absent
        in g,        // [n] f32
        in hyper,    // [AdamRecord::LEN] f32
        in outcome,  // [3] f32
        in decays,   // [k] f32
        max_norm: f32,
        decoupled: bool,
    }
}

impl Op for Adam {
    fn cpu(&self, mem: &mut Memory) {
        let ([p, m, v, ema, further], [g, hyper, outcome, decays]) = mem
            .views([self.p, self.m, self.v, self.ema, self.further], [self.g, self.hyper, self.outcome, self.decays]);
        let &[norm, _, broken] = outcome else { unreachable!("three values") };
        if broken == 0.0 {
            let clip = if self.max_norm > 0.0 { (self.max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
            update_cpu([&mut *p, m, v, ema], g, from_bytes(cast_slice(hyper)), clip, self.decoupled);
            further.chunks_exact_mut(p.len()).zip(decays).for_each(|(ema, &decay)| average_cpu(ema, p, decay));
        }
    }
    fn launch(&self, q: &mut Launches) {
        let n = self.p.numel();
        let launch = q.kernel_named("adam").operands(self).grid(flat(n, 4));
        let averages = self.decays.numel() as i32;
        launch.with([n as u64]).with([self.max_norm]).with([i32::from(self.decoupled), averages]);
    }
}

fn update_cpu(state: [&mut [f32]; 4], g: &[f32], by: &AdamRecord, clip: f32, decoupled: bool) {
    let AdamRecord { lr, beta1, beta2, eps, decay, c1, c2, ema_decay } = *by;
    let (shrink, l2) = if decoupled { (lr * decay, 0.0) } else { (0.0, decay) };
    simd::for_chunks(state, [g], |[p, m, v, ema], [g]| {
        for ((((p, m), v), ema), g) in p.iter_mut().zip(m).zip(v).zip(ema).zip(g) {
            let d = g * clip + l2 * *p;
            *m = beta1 * *m + (1.0 - beta1) * d;
            *v = beta2 * *v + (1.0 - beta2) * d * d;
            *p -= shrink * *p;
            *p -= lr * (*m * c1) / ((*v * c2).sqrt() + eps);
            *ema += (1.0 - ema_decay) * (*p - *ema);
        }
    });
}

fn average_cpu(ema: &mut [f32], p: &[f32], decay: f32) {
    simd::for_chunks([ema], [p], |[ema], [p]| {
        ema.iter_mut().zip(p).for_each(|(ema, p)| *ema += (1.0 - decay) * (*p - *ema));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Device;
    use crate::engine::ops::check::{compare, targets};
    use crate::engine::ops::grad_norm::grad_norm;
    use crate::engine::tape::Session;
    use crate::engine::tensor::Store;

    const HYPER: AdamHyper = AdamHyper {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 1,
        ema_decay: 0.9,
    };

    /// Decays of two further averages, of which the second changes with the step.
    fn further_decays(step: usize) -> [f32; 2] {
        [0.0, 0.25 * step as f32]
    }

    /// Runs steps with the given gradients on every target and returns p, m, v, ema and two further averages of each.
    fn run(gradients: &[Vec<f32>], max_norm: f32, decoupled: bool) -> Vec<(String, [Vec<f32>; 5])> {
        let n = gradients[0].len();
        let run_on = |device: Device, dtype: DType| {
            let backend = device.backend();
            let mut store = Store::new();
            let [p, m, v, ema, g] = [(); 5].map(|()| store.tensor(&[n], DType::F32));
            let (further, decays) = (store.tensor(&[2, n], DType::F32), store.tensor(&[2], DType::F32));
            let copy = if dtype == DType::Bf16 { store.tensor(&[n], dtype) } else { Tensor::EMPTY };
            let (hyper, outcome) = (store.tensor(&[AdamRecord::LEN], DType::F32), store.tensor(&[3], DType::F32));
            let mut session = Session::new(device, &store).unwrap();
            let start: Vec<f32> = (0..n).map(initial).collect();
            session.write(p, &start).unwrap();
            session.write(ema, &start).unwrap();
            session.write(further, &start.repeat(2)).unwrap();
            let mut tape = Tape::new(backend, dtype);
            grad_norm(&mut tape, outcome, g, Tensor::EMPTY);
            let tensors = AdamTensors { p, m, v, ema, further, decays, copy, g };
            adam(&mut tape, tensors, hyper, outcome, max_norm, decoupled);
            let mut program = session.load(tape).unwrap();
            for (i, gradient) in gradients.iter().enumerate() {
                session.write(g, gradient).unwrap();
                session.write(hyper, AdamHyper { step: i as u64 + 1, ..HYPER }.record().values()).unwrap();
                session.write(decays, &further_decays(i)).unwrap();
                session.run(&mut program).unwrap();
            }
            let state = [p, m, v, ema, further].map(|t| session.read(t).unwrap());
            if !copy.is_empty() {
                let rounded: Vec<f32> = state[0].iter().map(|&p| half::bf16::from_f32(p).to_f32()).collect();
                assert_eq!(session.read(copy).unwrap(), rounded);
            }
            state
        };
        targets().iter().map(|t| (format!("{} {:?}", t.name, t.dtype), run_on(t.open(), t.dtype))).collect()
    }

    fn initial(i: usize) -> f32 {
        (i as f32 * 0.37).sin()
    }

    fn gradient(n: usize, step: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.11 + step as f32).cos() * 0.3).collect()
    }

    #[test]
    fn follows_the_published_algorithm() {
        for (n, max_norm, decoupled) in [(5, 0.0, true), (1003, 1.0, true), (20_011, 1e6, false), (258, 0.5, false)] {
            let gradients: Vec<_> = (0..4).map(|step| gradient(n, step)).collect();
            let h = HYPER;
            let [lr, beta1, beta2, decay, ema_decay] =
                [h.learning_rate, h.beta1, h.beta2, h.weight_decay, h.ema_decay].map(f64::from);
            let mut p: Vec<f64> = (0..n).map(|i| initial(i) as f64).collect();
            let (mut m, mut v, mut ema) = (vec![0.0; n], vec![0.0; n], p.clone());
            let mut further = p.repeat(2);
            for (i, gradient) in gradients.iter().enumerate() {
                let norm = gradient.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
                let clip = if max_norm > 0.0 { (max_norm as f64 / (norm + 1e-6)).min(1.0) } else { 1.0 };
                let corrections = [beta1, beta2].map(|beta| 1.0 - beta.powi(i as i32 + 1));
                for k in 0..n {
                    let mut g = gradient[k] as f64 * clip;
                    if decoupled {
                        p[k] *= 1.0 - lr * decay;
                    } else {
                        g += decay * p[k];
                    }
                    m[k] = beta1 * m[k] + (1.0 - beta1) * g;
                    v[k] = beta2 * v[k] + (1.0 - beta2) * g * g;
                    p[k] -= lr * (m[k] / corrections[0]) / ((v[k] / corrections[1]).sqrt() + h.epsilon as f64);
                    ema[k] = ema_decay * ema[k] + (1.0 - ema_decay) * p[k];
                    for (j, decay) in further_decays(i).map(f64::from).into_iter().enumerate() {
                        further[j * n + k] = decay * further[j * n + k] + (1.0 - decay) * p[k];
                    }
                }
            }
            for (target, state) in run(&gradients, max_norm, decoupled) {
                let wanted = [("p", &p), ("m", &m), ("v", &v), ("ema", &ema), ("further averages", &further)];
                for ((name, want), got) in wanted.into_iter().zip(&state) {
                    compare(&format!("{name} of {n} on {target}"), got, want, 2e-5);
                }
            }
        }
    }

    #[test]
    fn from_a_gradient_that_is_not_finite_on_nothing_changes() {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut broken = gradient(1003, 1);
            broken[777] = bad;
            let good = [gradient(1003, 0)];
            let after_all = run(&[good[0].clone(), broken, gradient(1003, 2)], 1.0, true);
            assert_eq!(after_all, run(&good, 1.0, true), "gradient {bad}");
        }
    }
}
