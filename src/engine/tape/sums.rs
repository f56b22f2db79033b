//! Gradients whose sums wait.
//!
//! The pixels of a weight gradient are split over blocks, and each split writes what it has found. Nobody needs the sum of
//! these parts before the optimiser, and a launch for the few bytes of one layer costs more than the sum itself. So the
//! parts wait, and one launch makes the sums of several layers.

use super::Tape;
use super::gradients::PartSum;
use super::sum_parts::sum_parts;
use crate::engine::tensor::Tensor;
use std::sync::Arc;

/// The layer of a launch that belongs to more than one.
const SEVERAL_LAYERS: &str = "several layers";

impl Tape {
    /// Has these sums made, gradients of the reverse pass that is being recorded, of parts that are written by now. That is
    /// done when one of them is needed, at the latest at the end of the pass.
    pub fn sum_later(&mut self, sums: impl IntoIterator<Item = PartSum>) {
        self.waiting.add(&self.layer, sums);
        if self.waiting.is_full() {
            self.make_sums();
        }
    }

    /// Makes all sums that wait if `t` is among them.
    pub(super) fn settle(&mut self, t: Tensor) {
        if self.waiting.has(t) {
            self.make_sums();
        }
    }

    /// Makes all sums that wait.
    pub(super) fn make_sums(&mut self) {
        let (layers, sums): (Vec<Arc<str>>, Vec<PartSum>) = self.waiting.take().into_iter().unzip();
        let Some(first) = layers.first() else { return };
        let is_one = layers.iter().all(|layer| layer == first);
        let layer = if is_one { first.clone() } else { SEVERAL_LAYERS.into() };
        let entered = std::mem::replace(&mut self.layer, layer);
        sum_parts(self, sums);
        self.layer = entered;
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::device::{Device, EmuOptions};
    use crate::engine::ops::check::emulated;
    use crate::engine::ops::conv2d::{Padding, conv2d};
    use crate::engine::ops::silu::silu;
    use crate::engine::tape::{Session, Tape};
    use crate::engine::tensor::{DType, Store, Tensor};

    /// The gradients of all parameters of a few convolutions of 700 pixels, which are split in two, and what each launch
    /// of sums makes, in order.
    fn gradients(device: Device, most_bytes: Option<usize>) -> (Vec<Vec<f32>>, Vec<String>) {
        let mut store = Store::new();
        let mut learned: Vec<(Tensor, Tensor)> = Vec::new();
        let x = store.tensor(&[1, 20, 35, 3], DType::F32);
        let few = store.tensor(&[1, 2, 5, 3], DType::F32);
        let [frozen, mixed] = [3, 6].map(|c| store.tensor(&[c, 1, 1, 3], DType::F32));
        let mut parameter = |dims: &[usize]| {
            let [value, gradient] = [(); 2].map(|()| store.tensor(dims, DType::F32));
            learned.push((value, gradient));
            value
        };
        let [start_bias, entry_bias] = [[3], [6]].map(|dims| parameter(&dims));
        let [shared, shared_bias] = [&[6, 1, 1, 6][..], &[6]].map(&mut parameter);
        let [raw, bias] = [&[5, 3, 3, 6][..], &[5]].map(&mut parameter);
        let [other, last] = [[6, 1, 1, 6], [2, 3, 3, 5]].map(|dims| parameter(&dims));
        let [dy, dfew] = [[1, 10, 18, 2], [1, 2, 5, 6]].map(|dims| store.tensor(&dims, DType::F32));

        let mut session = Session::new(device, &store).unwrap();
        let mut tape = Tape::new(session.backend(), DType::F32);
        tape.waiting.most_bytes = most_bytes.unwrap_or(tape.waiting.most_bytes);
        learned.iter().for_each(|&(value, gradient)| tape.parameter(value, gradient));
        tape.enter_layer("start");
        let h = conv2d(&mut tape, x, frozen, start_bias, 1, Padding::default());
        // The bias of `entry` once more, for pixels that are not split.
        tape.enter_layer("few");
        let few_mixed = conv2d(&mut tape, few, mixed, entry_bias, 1, Padding::default());
        tape.enter_layer("entry");
        let h = conv2d(&mut tape, h, mixed, entry_bias, 1, Padding::default());
        tape.enter_layer("shared");
        let h = conv2d(&mut tape, h, shared, shared_bias, 1, Padding::default());
        let h = conv2d(&mut tape, h, shared, shared_bias, 1, Padding::default());
        tape.enter_layer("other");
        let h = conv2d(&mut tape, h, other, Tensor::EMPTY, 1, Padding::default());
        // Weights that are a function of the parameter: their gradient is needed for its own.
        tape.enter_layer("weights");
        let made = silu(&mut tape, raw);
        tape.enter_layer("made");
        let h = conv2d(&mut tape, h, made, bias, 1, Padding::same(1));
        // Too few pixels to be split, too.
        tape.enter_layer("last");
        let y = conv2d(&mut tape, h, last, Tensor::EMPTY, 2, Padding::same(1));
        tape.seed_grad(y, dy);
        tape.seed_grad(few_mixed, dfew);
        tape.backward();
        let work = tape.work().into_iter().filter(|work| work.op == "sum_parts");
        let made = work.map(|work| format!("{}: {}", work.layer, work.shape)).collect();

        for (i, t) in
            [x, few, frozen, mixed, dy, dfew].into_iter().chain(learned.iter().map(|&(value, _)| value)).enumerate()
        {
            let value = |e: usize| ((17 * i + e) as f32).sin();
            session.write(t, &(0..t.numel()).map(value).collect::<Vec<f32>>()).unwrap();
        }
        let mut program = session.load(tape).unwrap();
        session.run(&mut program).unwrap();
        (learned.iter().map(|&(_, gradient)| session.read(gradient).unwrap()).collect(), made)
    }

    #[test]
    fn sums_are_made_when_a_gradient_is_needed() {
        let emu = || emulated(EmuOptions::default());
        if let Err(reason) = emu() {
            crate::skip!("{reason}");
        }
        let emu = || emu().unwrap();
        let (by_layer, made) = gradients(emu(), Some(0));
        let (made_by_itself, other) = ("made: 2 sums, 275 values", "other: 1 sums, 36 values");
        let shared = "shared: 2 sums, 42 values";
        let [entry, start] = ["entry: 1 sums, 6 values", "start: 1 sums, 3 values"];
        assert_eq!(made, [made_by_itself, other, shared, shared, entry, start]);

        // The gradient of `made` is needed for that of its parameter. What the second use of `shared` adds up has to be
        // there, and what the few pixels add to; the last bias waits for the end.
        let (together, made) = gradients(emu(), None);
        assert_eq!(made, [made_by_itself, "several layers: 5 sums, 120 values", entry, start]);
        assert_eq!(together, by_layer, "bitwise");

        // Two parts of 70 values may wait: of `shared`, which is used twice, what is added to does not, what is added does.
        let (limited, made) = gradients(emu(), Some(2 * 70 * 4));
        assert_eq!(made, [made_by_itself, "several layers: 3 sums, 78 values", shared, entry, start]);
        assert_eq!(limited, by_layer, "bitwise");

        let (want, made) = gradients(Device::Cpu, None);
        assert!(made.is_empty(), "nothing is split on the CPU");
        assert_eq!(by_layer.iter().map(Vec::len).collect::<Vec<_>>(), want.iter().map(Vec::len).collect::<Vec<_>>());
        assert!(want.iter().all(|gradient| gradient.iter().any(|&v| v != 0.0)), "{want:?}");
        for (got, want) in by_layer.iter().zip(&want) {
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{got}, not {want}");
            }
        }
    }
}
