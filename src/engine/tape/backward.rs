//! The reverse pass: contributions to each gradient, and their sums.

use super::Tape;
use super::add::{add_acc, sum_into};
use super::gradients::Gradient;
use crate::engine::tensor::{DType, Tensor};
use std::ops::Range;

impl Tape {
    /// dL/dy of an op's output, inside [`Op::backward`](super::Op::backward), or of a watched input afterwards.
    pub fn grad(&self, y: Tensor) -> Tensor {
        let dy = self.arrived(y);
        assert!(!self.waiting.has(dy), "the gradient of {y:?} is still to be summed");
        dy
    }

    fn arrived(&self, y: Tensor) -> Tensor {
        match self.gradients.get(&y.place) {
            Some(Gradient::Sum(parts)) if parts.len() == 1 => parts[0].reshape(&y.dims()),
            Some(Gradient::Parameter { place, written: true }) => place.reshape(&y.dims()),
            Some(Gradient::Columns { whole, written }) => {
                let columns: usize = written.iter().map(Range::len).sum();
                assert_eq!(columns, whole.last_dim(), "columns of the gradient of {y:?} are missing");
                whole.reshape(&y.dims())
            }
            _ => panic!("no gradient has reached {y:?}"),
        }
    }

    /// Where an op writes its contribution to dL/dx: absent where none is needed, f32 for a parameter, else of
    /// x's type. Report it with [`Tape::accumulate`] after pushing the op that fills it.
    pub fn grad_slot(&mut self, x: Tensor) -> Tensor {
        if !self.needs_grad(x) {
            return Tensor::EMPTY;
        }
        match self.gradients.get(&x.place) {
            Some(Gradient::Parameter { place, written: false }) => place.reshape(&x.dims()),
            Some(Gradient::Parameter { place, .. }) => self.tensor(&x.dims(), place.dtype()),
            _ => self.tensor(&x.dims(), x.dtype()),
        }
    }

    /// The same for weights, whose gradient is f32 also where they are no parameter but computed from one.
    pub fn weight_grad_slot(&mut self, w: Tensor) -> Tensor {
        match self.gradients.get(&w.place) {
            Some(Gradient::Parameter { .. }) => self.grad_slot(w),
            _ if self.needs_grad(w) => self.tensor(&w.dims(), DType::F32),
            _ => Tensor::EMPTY,
        }
    }

    /// Adds the contribution `dx` to dL/dx. `dx` may be a tensor that others hold too: it is never changed.
    pub fn accumulate(&mut self, x: Tensor, dx: Tensor) {
        if dx.is_empty() || !self.needs_grad(x) {
            return;
        }
        match self.gradients.get_mut(&x.place) {
            None => {
                self.gradients.insert(x.place, Gradient::Sum(vec![dx]));
            }
            Some(Gradient::Sum(parts)) => parts.push(dx.reshape(&parts[0].dims())),
            Some(Gradient::Parameter { place, written: written @ false }) => {
                assert_eq!(place.place, dx.place, "the first gradient of a parameter is written in its place");
                *written = true;
            }
            Some(Gradient::Parameter { place, .. }) => {
                let place = *place;
                self.settle(place);
                self.settle(dx);
                add_acc(self, place, dx.reshape(&place.dims()));
            }
            Some(Gradient::Columns { .. }) => panic!("a whole gradient for {x:?} and columns of one"),
        }
    }

    /// For an op that can add up to `N` tensors to its contribution to dL/dx: where it writes the sum, and what has
    /// arrived before (absent where less has). Report it with [`Tape::set_grad`].
    pub fn grad_sum<const N: usize>(&mut self, x: Tensor) -> (Tensor, [Tensor; N]) {
        let mut earlier = [Tensor::EMPTY; N];
        self.add_up(x, N);
        if let Some(Gradient::Sum(parts)) = self.gradients.get(&x.place) {
            earlier.iter_mut().zip(parts).for_each(|(earlier, part)| *earlier = part.reshape(&x.dims()));
        }
        (self.grad_slot(x), earlier)
    }

    /// `dx` is all of dL/dx that has arrived: what [`Tape::grad_sum`] gave is in it.
    pub fn set_grad(&mut self, x: Tensor, dx: Tensor) {
        if let Some(Gradient::Sum(_)) = self.gradients.get(&x.place) {
            self.gradients.remove(&x.place);
        }
        self.accumulate(x, dx);
    }

    /// For ops that each read some columns of `x` (of its last dimension): the one tensor where each writes its columns
    /// of dL/dx. Together they must write all, each once.
    pub fn grad_columns(&mut self, x: Tensor, columns: Range<usize>) -> Tensor {
        if !self.needs_grad(x) {
            return Tensor::EMPTY;
        }
        if !self.gradients.contains_key(&x.place) {
            let whole = self.tensor(&x.dims(), x.dtype());
            self.gradients.insert(x.place, Gradient::Columns { whole, written: Vec::new() });
        }
        let Some(Gradient::Columns { whole, written }) = self.gradients.get_mut(&x.place) else {
            panic!("columns of the gradient of {x:?}, of which a whole one has arrived");
        };
        let free = |other: &Range<usize>| other.end <= columns.start || columns.end <= other.start;
        assert!(written.iter().all(free) && columns.end <= whole.last_dim(), "columns {columns:?} of {x:?}");
        written.push(columns);
        *whole
    }

    /// Adds up contributions to dL/dx, the first ones, until no more than `most` are left, and makes sure of these.
    fn add_up(&mut self, x: Tensor, most: usize) {
        let Some(Gradient::Sum(parts)) = self.gradients.get(&x.place) else { return };
        let parts = parts.clone();
        parts.iter().for_each(|&part| self.settle(part));
        if parts.len() <= most {
            return;
        }
        let (added, left) = parts.split_at(parts.len() - most + 1);
        let mut total = added[0];
        for &part in &added[1..] {
            let sum = self.tensor(&total.dims(), total.dtype());
            sum_into(self, sum, total, part);
            total = sum;
        }
        self.gradients.insert(x.place, Gradient::Sum([&[total], left].concat()));
    }

    /// Gives dL/dy of a final output: where the reverse pass starts.
    pub fn seed_grad(&mut self, y: Tensor, dy: Tensor) {
        self.gradients.insert(y.place, Gradient::Sum(vec![dy]));
    }

    /// Records the pass backward from `y`, of gradient `dy`, to a watched input: `J' dy`, which is kept.
    pub fn pull_back(&mut self, x: Tensor, y: Tensor, dy: Tensor) -> Tensor {
        self.seed_grad(y, dy);
        self.backward();
        let dx = self.grad(x);
        self.keep(dx);
        dx
    }

    /// Records the reverse pass over everything recorded so far.
    pub fn backward(&mut self) {
        let forward = std::mem::take(&mut self.nodes);
        self.forward_nodes = Some(forward.len());
        for (i, node) in forward.iter().enumerate().rev() {
            let reached =
                |t: &&Tensor| matches!(self.gradients.get(&t.place), Some(Gradient::Sum(_) | Gradient::Columns { .. }));
            let outputs = node.outputs();
            let reached: Vec<Tensor> = outputs.iter().filter(reached).copied().collect();
            if !reached.is_empty() {
                self.layer = self.layers[i].clone();
                reached.into_iter().for_each(|output| self.add_up(output, 1));
                node.backward(self);
            }
        }
        std::mem::take(&mut self.watched).into_iter().for_each(|input| self.add_up(input, 1));
        self.make_sums();
        let backward = std::mem::replace(&mut self.nodes, forward);
        self.nodes.extend(backward);
        self.differentiated_nodes = Some(self.nodes.len());
    }
}
