//! The tape: a training step as a program.
//!
//! Shapes are static, so a step is recorded once. Every op appends its forward node ([`Tape::push`]);
//! [`Tape::backward`] walks the nodes in reverse and each appends its backward nodes; liveness then gives every
//! intermediate an offset in one arena ([`Plan`]), and the result is a flat list that a [`Session`] runs as often
//! as wanted. What changes from step to step lives in persistent tensors, never in the list.
//!
//! Kernels overwrite, the tape accumulates: an op asks [`Tape::grad_slot`] where to write a gradient and reports it
//! with [`Tape::accumulate`], which adds it to earlier contributions where a tensor has several consumers.

mod launch;
mod plan;
mod session;
mod work;

use crate::ops::add;
use crate::tensor::{DType, Place, Tensor};
pub use launch::{Arg, Launch, Launches};
pub use plan::Plan;
pub use session::{Program, Session};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
pub use work::{Pass, Work};

use crate::device::{Capability, Memory};

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

/// One node of a tape: a computation with fixed operands.
pub trait Op: Debug + Send {
    /// The op's name in profiles and error messages, e.g. `group_norm_fwd`.
    fn name(&self) -> &'static str;
    /// Every tensor that is written: results, values saved for backward, scratch.
    fn outputs(&self) -> Vec<Tensor>;
    /// Every tensor that is read. A tensor updated in place is an input and an output.
    fn inputs(&self) -> Vec<Tensor>;
    /// Records the gradient computation of a forward node. Nodes of the backward pass have none.
    fn backward(&self, _tape: &mut Tape) {
        unreachable!("{} has no gradient", self.name())
    }
    /// Runs on the CPU.
    fn cpu(&self, mem: &mut Memory);
    /// Emits the kernel launches.
    fn launch(&self, q: &mut Launches);
    /// Floating-point operations, counting a multiply-add as two. Zero where memory traffic is the cost.
    fn flops(&self) -> u64 {
        0
    }
    /// Those of each kernel launch, in order; what is left out has none. They add up to [`Op::flops`].
    fn launch_flops(&self) -> Vec<u64> {
        vec![self.flops()]
    }
}

#[derive(Clone, Copy)]
struct Gradient {
    slot: Tensor,
    written: bool,
    /// Parameters have a fixed place for their gradient; others get one when the first contribution arrives.
    fixed: bool,
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
    needs_grad: HashMap<Place, bool>,
    kept: Vec<Tensor>,
    forward_nodes: Option<usize>,
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
            needs_grad: HashMap::new(),
            kept: Vec::new(),
            forward_nodes: None,
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
        self.gradients.insert(value.place, Gradient { slot: gradient, written: false, fixed: true });
    }

    /// Asks for the gradient of an input that is no parameter; [`Tape::grad`] gives it after [`Tape::backward`].
    pub fn watch(&mut self, input: Tensor) {
        self.needs_grad.insert(input.place, true);
    }

    /// Whether a gradient for `t` is wanted.
    pub fn needs_grad(&self, t: Tensor) -> bool {
        self.needs_grad.get(&t.place).copied().unwrap_or(false)
    }

    /// Keeps an intermediate's bytes until the program ends, so that they can be read.
    pub fn keep(&mut self, t: Tensor) {
        self.kept.push(t);
    }

    /// dL/dy of an op's output, inside [`Op::backward`], or of a watched input afterwards.
    pub fn grad(&self, y: Tensor) -> Tensor {
        match self.gradients.get(&y.place) {
            Some(g) if g.written => g.slot,
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
            Some(g) if g.fixed && !g.written => g.slot.reshape(&x.dims()),
            Some(g) => self.tensor(&x.dims(), g.slot.dtype()),
            None => self.tensor(&x.dims(), x.dtype()),
        }
    }

    /// Adds the contribution `dx` to dL/dx. `dx` may be a tensor that others hold too: it is never changed.
    pub fn accumulate(&mut self, x: Tensor, dx: Tensor) {
        if dx.is_empty() || !self.needs_grad(x) {
            return;
        }
        match self.gradients.get(&x.place).copied() {
            None => {
                self.gradients.insert(x.place, Gradient { slot: dx, written: true, fixed: false });
            }
            Some(g) if g.fixed => {
                if g.written {
                    add::add_acc(self, g.slot, dx.reshape(&g.slot.dims()));
                } else {
                    assert_eq!(g.slot.place, dx.place, "the first gradient of a parameter is written in its place");
                }
                self.gradients.insert(x.place, Gradient { written: true, ..g });
            }
            Some(g) => {
                let sum = self.tensor(&g.slot.dims(), g.slot.dtype());
                add::sum_into(self, sum, g.slot, dx.reshape(&g.slot.dims()));
                self.gradients.insert(x.place, Gradient { slot: sum, ..g });
            }
        }
    }

    /// Gives dL/dy of a final output: where the reverse pass starts.
    pub fn seed_grad(&mut self, y: Tensor, dy: Tensor) {
        self.gradients.insert(y.place, Gradient { slot: dy, written: true, fixed: false });
    }

    /// Records the reverse pass over everything recorded so far.
    pub fn backward(&mut self) {
        let forward = std::mem::take(&mut self.nodes);
        self.forward_nodes = Some(forward.len());
        for (i, node) in forward.iter().enumerate().rev() {
            let reached = |t: &Tensor| self.gradients.get(&t.place).is_some_and(|g| g.written && !g.fixed);
            if node.outputs().iter().any(reached) {
                self.layer = self.layers[i].clone();
                node.backward(self);
            }
        }
        let backward = std::mem::replace(&mut self.nodes, forward);
        self.nodes.extend(backward);
    }

    /// The nodes recorded so far, in the order in which they run.
    pub fn nodes(&self) -> &[Box<dyn Op>] {
        &self.nodes
    }

    /// What each launch (on the CPU: each node) has to compute and to move.
    pub fn work(&self) -> Vec<Work> {
        work::work(&self.nodes, &self.layers, self.forward_nodes(), self.backend)
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
