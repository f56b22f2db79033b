//! Concatenation along channels: `y = a` beside `b`, as the decoder joins its skips. The gradients are the two slices
//! of `dy`.

use crate::device::Memory;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::Tensor;
use rayon::prelude::*;

/// `a` and `b` beside each other.
///
/// # Shapes
/// `a [n, h, w, ca]`, `b [n, h, w, cb]`, result `[n, h, w, ca + cb]`. Nothing is saved for backward.
pub fn concat(tape: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    let last = a.rank() - 1;
    assert!(a.rank() == b.rank() && a.dims()[..last] == b.dims()[..last], "concat of {a:?} and {b:?}");
    let mut dims = a.dims();
    dims[last] += b.last_dim();
    let y = tape.tensor(&dims, a.dtype());
    tape.push(ConcatFwd { y, a, b });
    y
}

#[derive(Debug)]
struct ConcatFwd {
    y: Tensor,
    a: Tensor,
    b: Tensor,
}

impl Op for ConcatFwd {
    fn name(&self) -> &'static str {
        "concat_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.a, self.b]
    }
    fn backward(&self, tape: &mut Tape) {
        let (da, db) = (tape.grad_slot(self.a), tape.grad_slot(self.b));
        let dy = tape.grad(self.y);
        tape.push(ConcatBwd { da, db, dy, split: [self.a.last_dim(), self.b.last_dim()] });
        tape.accumulate(self.a, da);
        tape.accumulate(self.b, db);
    }
    fn cpu(&self, mem: &mut Memory) {
        let split @ [ca, cb] = [self.a.last_dim(), self.b.last_dim()];
        let ([y], [a, b]) = mem.views([self.y], [self.a, self.b]);
        let parts = a.par_chunks(PIXELS * ca).zip(b.par_chunks(PIXELS * cb));
        y.par_chunks_mut(PIXELS * (ca + cb)).zip(parts).for_each(|(y, (a, b))| join_cpu(y, a, b, split));
    }
    fn launch(&self, q: &mut Launches) {
        let split @ [ca, cb] = [self.a.last_dim(), self.b.last_dim()];
        let n = self.y.dim(0);
        let pixels = self.y.numel() / n / (ca + cb);
        let args = [self.y.into(), self.a.into(), self.b.into(), pixels.into(), ca.into(), cb.into()];
        q.kernel("concat_fwd", self.y.dtype()).grid(blocks(self.y, n, pixels, split)).args(&args);
    }
}

#[derive(Debug)]
struct ConcatBwd {
    da: Tensor,
    db: Tensor,
    dy: Tensor,
    split: [usize; 2],
}

impl Op for ConcatBwd {
    fn name(&self) -> &'static str {
        "concat_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.da, self.db]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy]
    }
    fn cpu(&self, mem: &mut Memory) {
        let [ca, cb] = self.split;
        let ([da, db], [dy]) = mem.views([self.da, self.db], [self.dy]);
        take_slice_cpu(da, dy, ca + cb, 0, ca);
        take_slice_cpu(db, dy, ca + cb, ca, cb);
    }
    fn launch(&self, q: &mut Launches) {
        let [ca, cb] = self.split;
        let n = self.dy.dim(0);
        let pixels = self.dy.numel() / n / (ca + cb);
        let args = [self.da.into(), self.db.into(), self.dy.into(), pixels.into(), ca.into(), cb.into()];
        q.kernel("concat_bwd", self.dy.dtype()).grid(blocks(self.dy, n, pixels, self.split)).args(&args);
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

/// Copies the channels `first .. first + len` of every pixel; does nothing if the slice is not wanted.
fn take_slice_cpu(part: &mut [f32], whole: &[f32], c: usize, first: usize, len: usize) {
    part.par_chunks_mut(PIXELS * len).zip(whole.par_chunks(PIXELS * c)).for_each(|(part, whole)| {
        for (part, whole) in part.chunks_exact_mut(len).zip(whole.chunks_exact(c)) {
            part.copy_from_slice(&whole[first..first + len]);
        }
    });
}

/// One thread moves 16 bytes where both parts allow it, else one element; grid.y counts images.
fn blocks(whole: Tensor, n: usize, pixels: usize, [ca, cb]: [usize; 2]) -> [usize; 3] {
    let vector = 16 / whole.dtype().bytes();
    let per_thread = if ca % vector == 0 && cb % vector == 0 { vector } else { 1 };
    [(pixels * (ca + cb) / per_thread).div_ceil(256), n, 1]
}

#[cfg(test)]
mod tests {
    use crate::ops::check::{Check, Input};

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
