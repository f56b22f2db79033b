//! Concatenation along channels: `y = a` beside `b`, as the decoder joins its skips. The gradients are the two slices
//! of `dy`.
//!
//! Kernels that find out where a channel lies can do without `y`: [`join`] names it without storing it.

use crate::engine::device::Memory;
use crate::engine::tape::geometry::{channels_of, image_len};
use crate::engine::tape::{Backend, Launch, Launches, Op, Operand, Tape, op};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// `a` and `b` beside each other.
///
/// # Shapes
/// `a [n, h, w, ca]`, `b [n, h, w, cb]`, result `[n, h, w, ca + cb]`. Nothing is saved for backward.
pub fn concat(tape: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    let y = tape.tensor(&joined_dims(a, b), a.dtype());
    tape.push(ConcatFwd { y, a, b });
    y
}

/// The dimensions of the concatenation.
pub(super) fn joined_dims(a: Tensor, b: Tensor) -> Vec<usize> {
    let last = a.rank() - 1;
    assert!(a.rank() == b.rank() && a.dims()[..last] == b.dims()[..last], "concat of {a:?} and {b:?}");
    let mut dims = a.dims();
    dims[last] += b.last_dim();
    dims
}

/// An operand for ops that read one tensor, or two as if they were beside each other in one.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    /// The one tensor; or a name for the two together, which has their shape and gathers gradients but no bytes.
    pub whole: Tensor,
    /// The one tensor, or the first channels.
    pub first: Tensor,
    /// The channels after those; absent where there is one tensor.
    pub second: Tensor,
}

impl Operand for Joined {
    fn tensors(&self) -> Vec<Tensor> {
        self.parts().to_vec()
    }
}

impl From<Tensor> for Joined {
    fn from(whole: Tensor) -> Joined {
        Joined { whole, first: whole, second: Tensor::EMPTY }
    }
}

impl Joined {
    /// True if it is two tensors.
    pub fn is_pair(&self) -> bool {
        !self.second.is_empty()
    }

    /// The channels of the first tensor: those from there on lie in the second, if there is one.
    pub fn split(&self) -> usize {
        self.first.last_dim()
    }

    /// Prepares the gradients of both tensors for an op that writes them: [`Tape::grad_sum`] of the whole, with two places
    /// for the sum. Contributions to one of the two alone are not in it.
    pub fn grad_sum<const N: usize>(&self, tape: &mut Tape) -> ([Tensor; 2], [Tensor; N]) {
        let (dx, earlier) = tape.grad_sum(self.whole);
        let slots = if self.is_pair() { self.parts().map(|part| tape.grad_slot(part)) } else { [dx, Tensor::EMPTY] };
        (slots, earlier)
    }

    /// Reports the gradients that [`Joined::grad_sum`] gave places for.
    pub fn set_grad(&self, tape: &mut Tape, gradients: [Tensor; 2]) {
        if self.is_pair() {
            tape.set_grad(self.whole, Tensor::EMPTY);
            self.parts().into_iter().zip(gradients).for_each(|(part, gradient)| tape.accumulate(part, gradient));
        } else {
            tape.set_grad(self.whole, gradients[0]);
        }
    }

    fn parts(&self) -> [Tensor; 2] {
        [self.first, self.second]
    }
}

/// `a` and `b` as one operand, which nobody stores: for kernels that take it.
///
/// # Shapes
/// The same as [`concat()`]. A gradient of the whole that no reader has taken apart is sliced as that of [`concat()`].
pub fn join(tape: &mut Tape, a: Tensor, b: Tensor) -> Joined {
    assert!(tape.backend() != Backend::Cpu, "the CPU reads one tensor, not {a:?} and {b:?}");
    let joined = Joined { whole: tape.unstored(&joined_dims(a, b), a.dtype()), first: a, second: b };
    tape.push(Join { whole: joined.whole, parts: joined.parts() });
    joined
}

op! {
    /// Launches nothing: it passes the gradient on.
    struct Join = "join" {
        out whole,              // [n, h, w, ca + cb], without bytes
        in parts: [Tensor; 2],  // [n, h, w, ca], [n, h, w, cb]
    }
}

impl Op for Join {
    fn backward(&self, tape: &mut Tape) {
        ConcatBwd::record(tape, self.whole, self.parts);
    }
    fn cpu(&self, _: &mut Memory) {}
    fn launch(&self, _: &mut Launches) {}
}

op! {
    struct ConcatFwd = "concat_fwd" {
        out y,  // [n, h, w, ca + cb]
        in a,   // [n, h, w, ca]
        in b,   // [n, h, w, cb]
    }
}

impl Op for ConcatFwd {
    fn backward(&self, tape: &mut Tape) {
        ConcatBwd::record(tape, self.y, [self.a, self.b]);
    }
    fn cpu(&self, mem: &mut Memory) {
        let split @ [ca, cb] = [self.a.last_dim(), self.b.last_dim()];
        let ([y], [a, b]) = mem.views([self.y], [self.a, self.b]);
        let parts = a.par_chunks(PIXELS * ca).zip(b.par_chunks(PIXELS * cb));
        y.par_chunks_mut(PIXELS * (ca + cb)).zip(parts).for_each(|(y, (a, b))| join_cpu(y, a, b, split));
    }
    fn launch(&self, q: &mut Launches) {
        launch(q.kernel_of(self, self.y.dtype()), self.y, [self.a.last_dim(), self.b.last_dim()]);
    }
}

op! {
    struct ConcatBwd = "concat_bwd" {
        out da,  // [n, h, w, ca]; may be absent
        out db,  // [n, h, w, cb]; may be absent
        in dy,   // [n, h, w, ca + cb]
        split: [usize; 2],
    }
}

impl ConcatBwd {
    /// Slices the gradient of `y`, which is `a` beside `b`.
    fn record(tape: &mut Tape, y: Tensor, [a, b]: [Tensor; 2]) {
        let (da, db) = (tape.grad_slot(a), tape.grad_slot(b));
        let dy = tape.grad(y);
        tape.push(ConcatBwd { da, db, dy, split: [a.last_dim(), b.last_dim()] });
        tape.accumulate(a, da);
        tape.accumulate(b, db);
    }
}

impl Op for ConcatBwd {
    fn cpu(&self, mem: &mut Memory) {
        let [ca, cb] = self.split;
        let ([da, db], [dy]) = mem.views([self.da, self.db], [self.dy]);
        take_slice_cpu(da, dy, ca + cb, 0, ca);
        take_slice_cpu(db, dy, ca + cb, ca, cb);
    }
    fn launch(&self, q: &mut Launches) {
        launch(q.kernel_of(self, self.dy.dtype()), self.dy, self.split);
    }
}

/// Pixels that one task handles.
const PIXELS: usize = 128;

fn join_cpu(y: &mut [f32], a: &[f32], b: &[f32], [ca, cb]: [usize; 2]) {
    for ((y, a), b) in y.chunks_exact_mut(ca + cb).zip(a.chunks_exact(ca)).zip(b.chunks_exact(cb)) {
        y[..ca].copy_from_slice(a);
        y[ca..].copy_from_slice(b);
    }
}

/// Copies the channels `first .. first + len` of every pixel; does nothing if `part` is absent.
fn take_slice_cpu(part: &mut [f32], whole: &[f32], c: usize, first: usize, len: usize) {
    part.par_chunks_mut(PIXELS * len).zip(whole.par_chunks(PIXELS * c)).for_each(|(part, whole)| {
        for (part, whole) in part.chunks_exact_mut(len).zip(whole.chunks_exact(c)) {
            part.copy_from_slice(&whole[first..first + len]);
        }
    });
}

/// Geometry and dimensions of both kernels: a thread moves whole vectors where both parts allow it.
fn launch(kernel: &mut Launch, whole: Tensor, split: [usize; 2]) {
    let pixels = image_len(whole) / whole.last_dim();
    kernel.grid(channels_of(whole, &split)).with([pixels]).with(split);
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::check::{Check, Input};

    #[test]
    fn matches_the_oracle() {
        for (n, h, w, ca, cb) in [(1, 5, 7, 3, 1), (3, 4, 4, 35, 33), (2, 8, 8, 32, 16), (1, 13, 11, 8, 12)] {
            Check::default().run(
                &[Input::activation(&[n, h, w, ca]), Input::activation(&[n, h, w, cb])],
                |tape, x| super::concat(tape, x[0], x[1]),
                |x| x[0].chunks(ca).zip(x[1].chunks(cb)).flat_map(|(a, b)| [a, b].concat()).collect(),
            );
        }
    }

    #[test]
    fn one_gradient_may_be_unwanted() {
        let fixed = Input::constant(&[2, 3, 5, 4], vec![0.5; 120]);
        Check::default().run(
            &[fixed, Input::parameter(&[2, 3, 5, 8])],
            |tape, x| super::concat(tape, x[0], x[1]),
            |x| x[0].chunks(4).zip(x[1].chunks(8)).flat_map(|(a, b)| [a, b].concat()).collect(),
        );
    }
}
