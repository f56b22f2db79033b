//! The tape: a training step as a program.
//!
//! Shapes are static, so a step is recorded once. Every op appends its forward node ([`Tape::push`]);
//! [`Tape::backward`] walks the nodes in reverse and each appends its backward nodes; liveness then gives every
//! intermediate an offset in one arena ([`Plan`]), and the result is a flat list that a [`Session`] runs as often
//! as wanted. What changes from step to step lives in persistent tensors, never in the list.
//!
//! Where a tensor has several consumers, its gradient is a sum. An op asks [`Tape::grad_slot`] where to write its
//! contribution and reports it with [`Tape::accumulate`]; contributions are added up before the op that made the tensor
//! needs their sum. An op whose kernel can add takes what has arrived before as operands instead: [`Tape::grad_sum`].

mod declaration;
pub mod geometry;
mod launch;
mod plan;
mod session;
mod sums;
mod work;

use crate::engine::ops::add;
use crate::engine::tensor::{DType, Place, Tensor};
pub(crate) use declaration::op;
pub use declaration::{Declaration, Operand, Role};
pub use launch::{Arg, Launch, Launches};
pub use plan::Plan;
pub use session::{Later, Program, Session};
use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use sums::Waiting;
use work::Passes;
pub use work::{Pass, Work};

use crate::Result;
use crate::engine::device::{Capability, Memory};

/// What executes a tape: it decides which scratch an op needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Plain Rust, f32.
    Cpu,
    /// Kernels, on a GPU or emulated, and what they may use.
    Gpu(Capability),
}

impl Backend {
    /// What kernels may use; the least on the CPU, which runs none.
    pub fn capability(self) -> Capability {
        match self {
            Backend::Cpu => Capability::Ampere,
            Backend::Gpu(capability) => capability,
        }
    }
}

/// One node of a tape: a computation with fixed operands, which its [`Declaration`] lists.
pub trait Op: Declaration + Debug + Send {
    /// Of an operand of which the op touches a few columns alone (of its last dimension): which.
    fn columns(&self, _operand: Tensor) -> Option<Range<usize>> {
        None
    }
    /// Records the gradient computation of a forward node. Nodes of the backward pass have none.
    fn backward(&self, _tape: &mut Tape) {
        unreachable!("{} has no gradient", self.name())
    }
    /// What stands for the dimensions of the operands in profiles, where these are many.
    fn shape(&self) -> Option<String> {
        None
    }
    /// Runs on the CPU.
    fn cpu(&self, mem: &mut Memory);
    /// Emits the kernel launches.
    fn launch(&self, q: &mut Launches);
    /// Whether kernels can compute this op: asked before memory for it is allocated on a GPU.
    ///
    /// # Errors
    /// What they have no room for, and what would do.
    fn check_launch(&self) -> Result<()> {
        Ok(())
    }
    /// Floating-point operations, counting a multiply-add as two. Zero where memory traffic is the cost.
    fn flops(&self) -> u64 {
        0
    }
    /// Those of each kernel launch, in order; what is left out has none. They add up to [`Op::flops`].
    fn launch_flops(&self) -> Vec<u64> {
        vec![self.flops()]
    }
}

/// What has arrived of a gradient.
enum Gradient {
    /// That of a parameter, in its place: the first contribution is written there, others are added.
    Parameter { place: Tensor, written: bool },
    /// Contributions, at least one, that add up to it.
    Sum(Vec<Tensor>),
    /// These columns of it, which several ops write into one tensor.
    Columns { whole: Tensor, written: Vec<Range<usize>> },
}

/// Records ops; see the [module](self) documentation.
pub struct Tape {
    dtype: DType,
    backend: Backend,
    nodes: Vec<Box<dyn Op>>,
    /// The layer of each node.
    layers: Vec<Arc<str>>,
    /// The layer of what is recorded next.
    layer: Arc<str>,
    arena: Vec<Tensor>,
    gradients: HashMap<Place, Gradient>,
    /// Of the gradients: sums that are still to be made.
    waiting: Waiting,
    needs_grad: HashMap<Place, bool>,
    watched: Vec<Tensor>,
    kept: Vec<Tensor>,
    counter_bytes: u64,
    unstored: u32,
    forward_nodes: Option<usize>,
    /// Nodes of the forward and the reverse pass; what is recorded later updates weights.
    differentiated_nodes: Option<usize>,
}

impl Tape {
    /// An empty tape whose activations are stored as `dtype`.
    pub fn new(backend: Backend, dtype: DType) -> Tape {
        assert!(dtype != DType::I32 && (backend != Backend::Cpu || dtype == DType::F32), "{dtype:?} on {backend:?}");
        Tape {
            dtype,
            backend,
            nodes: Vec::new(),
            layers: Vec::new(),
            layer: "".into(),
            arena: Vec::new(),
            gradients: HashMap::new(),
            waiting: Waiting::default(),
            needs_grad: HashMap::new(),
            watched: Vec::new(),
            kept: Vec::new(),
            counter_bytes: 0,
            unstored: 0,
            forward_nodes: None,
            differentiated_nodes: None,
        }
    }

    /// Storage type of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// What this tape will run on.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// What the kernels of this tape may use: an op that has a faster kernel for it chooses when it is recorded.
    pub fn capability(&self) -> Capability {
        self.backend.capability()
    }

    /// A new intermediate. Its contents are undefined until an op overwrites them.
    pub fn tensor(&mut self, dims: &[usize], dtype: DType) -> Tensor {
        let tensor = Tensor::new(Place::Arena(self.arena.len() as u32), dims, dtype);
        self.arena.push(tensor);
        tensor
    }

    /// A new intermediate that only kernels need: absent on the CPU.
    pub fn scratch(&mut self, dims: &[usize], dtype: DType) -> Tensor {
        match self.backend {
            Backend::Cpu => Tensor::EMPTY,
            Backend::Gpu(_) => self.tensor(dims, dtype),
        }
    }

    /// A name under which ops may find the gradient of several tensors that they read as one. It has no bytes.
    pub fn unstored(&mut self, dims: &[usize], dtype: DType) -> Tensor {
        self.unstored += 1;
        Tensor::new(Place::Unstored(self.unstored), dims, dtype)
    }

    /// Counters by which the blocks of a launch find out who is last: zero before every launch, and the kernel leaves
    /// them so. Absent on the CPU.
    pub fn counters(&mut self, count: usize) -> Tensor {
        match self.backend {
            Backend::Cpu => Tensor::EMPTY,
            Backend::Gpu(_) => {
                let counters = Tensor::new(Place::Counters(self.counter_bytes), &[count], DType::I32);
                self.counter_bytes += counters.bytes() as u64;
                counters
            }
        }
    }

    /// Names the layer to which the ops belong that are recorded from now on, in profiles. Their gradients belong to it
    /// too.
    pub fn enter_layer(&mut self, name: &str) {
        if *self.layer != *name {
            self.layer = name.into();
        }
    }

    /// Records a node.
    pub fn push(&mut self, op: impl Op + 'static) {
        if self.forward_nodes.is_none() && op.inputs().iter().any(|&t| self.needs_grad(t)) {
            for output in op.outputs() {
                self.needs_grad.insert(output.place, true);
            }
        }
        self.nodes.push(Box::new(op));
        self.layers.push(self.layer.clone());
    }

    /// Declares a trainable parameter and where its f32 gradient belongs.
    pub fn parameter(&mut self, value: Tensor, gradient: Tensor) {
        assert_eq!(value.numel(), gradient.numel());
        self.needs_grad.insert(value.place, true);
        self.gradients.insert(value.place, Gradient::Parameter { place: gradient, written: false });
    }

    /// Asks for the gradient of an input that is no parameter; [`Tape::grad`] gives it after [`Tape::backward`].
    pub fn watch(&mut self, input: Tensor) {
        self.needs_grad.insert(input.place, true);
        self.watched.push(input);
    }

    /// Whether a gradient for `t` is wanted.
    pub fn needs_grad(&self, t: Tensor) -> bool {
        !t.is_empty() && self.needs_grad.get(&t.place).copied().unwrap_or(false)
    }

    /// Keeps an intermediate's bytes until the program ends, so that they can be read.
    pub fn keep(&mut self, t: Tensor) {
        self.kept.push(t);
    }

    /// dL/dy of an op's output, inside [`Op::backward`], or of a watched input afterwards.
    pub fn grad(&self, y: Tensor) -> Tensor {
        let dy = self.arrived(y);
        assert!(!self.is_waiting(dy), "the gradient of {y:?} is still to be summed");
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

    /// Where an op writes its contribution to dL/dx: absent where none is wanted, f32 for a parameter, else of
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
                add::add_acc(self, place, dx.reshape(&place.dims()));
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
            add::sum_into(self, sum, total, part);
            total = sum;
        }
        self.gradients.insert(x.place, Gradient::Sum([&[total], left].concat()));
    }

    /// Gives dL/dy of a final output: where the reverse pass starts.
    pub fn seed_grad(&mut self, y: Tensor, dy: Tensor) {
        self.gradients.insert(y.place, Gradient::Sum(vec![dy]));
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

    /// The nodes recorded so far, in the order in which they run.
    pub fn nodes(&self) -> &[Box<dyn Op>] {
        &self.nodes
    }

    /// Whether the backend can run every node.
    ///
    /// # Errors
    /// The first that it cannot, by its name.
    pub fn check(&self) -> Result<()> {
        match self.backend {
            Backend::Cpu => Ok(()),
            Backend::Gpu(_) => self.nodes.iter().try_for_each(|node| node.check_launch()),
        }
    }

    /// What each launch (on the CPU: each node) has to compute and to move.
    pub fn work(&self) -> Vec<Work> {
        work::work(&self.nodes, &self.layers, self.passes(), self.backend)
    }

    fn passes(&self) -> Passes {
        Passes { forward: self.forward_nodes(), differentiated: self.differentiated_nodes.unwrap_or(self.nodes.len()) }
    }

    /// Where the intermediates would lie: what a session needs memory for.
    pub fn plan(&self) -> Plan {
        plan::plan(&self.nodes, &self.arena, &self.kept)
    }

    /// Number of forward nodes, once the reverse pass is recorded.
    pub fn forward_nodes(&self) -> usize {
        self.forward_nodes.unwrap_or(self.nodes.len())
    }
}

#[cfg(test)]
mod tests;
