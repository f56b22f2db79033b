//! The tape: a training step as a program.
//!
//! Shapes are static, so a step is recorded once. Every op appends its forward node ([`Tape::push`]);
//! [`Tape::backward`] walks the nodes in reverse and each appends its backward nodes; liveness then gives every
//! intermediate an offset in one arena ([`Plan`]), and the result is a flat list that a [`Session`] runs as often
//! as needed. What changes from step to step lives in persistent tensors, never in the list.
//!
//! Where a tensor has several consumers, its gradient is a sum. An op asks [`Tape::grad_slot`] where to write its
//! contribution and reports it with [`Tape::accumulate`]; contributions are added up before the op that made the tensor
//! needs their sum. An op whose kernel can add takes what has arrived before as operands instead: [`Tape::grad_sum`].

pub mod add;
mod backward;
mod cpu;
mod declaration;
mod executor;
pub mod geometry;
mod gpu;
mod gradients;
mod launch;
mod plan;
mod program;
mod session;
mod sum_parts;
mod sums;
mod work;

use crate::Result;
pub use crate::engine::device::Backend;
use crate::engine::device::{Capability, Memory};
use crate::engine::tensor::{DType, Place, Tensor};
pub(crate) use declaration::op;
pub use declaration::{Declaration, Operand, Role};
pub use executor::Later;
pub use gradients::PartSum;
use gradients::{Gradient, Waiting};
pub use launch::{Arg, Launch, Launches};
pub use plan::{Lifetime, Plan};
pub use program::Program;
pub use session::Session;
use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
pub use work::{Pass, Work};

/// One node of a tape: a computation with fixed operands, which its [`Declaration`] lists.
pub trait Op: Declaration + Debug + Send {
    /// Columns of an operand (indices of its last dimension) that the op touches; none if it touches all.
    fn columns(&self, _operand: Tensor) -> Option<Range<usize>> {
        None
    }
    /// Records the gradient computation of a forward node. Nodes of the backward pass have none.
    fn backward(&self, _tape: &mut Tape) {
        unreachable!("{} has no gradient", self.name())
    }
    /// Text for profiles in place of the dimensions of the operands, where these are many.
    fn shape(&self) -> Option<String> {
        None
    }
    /// Runs on the CPU.
    fn cpu(&self, mem: &mut Memory);
    /// Emits the kernel launches.
    fn launch(&self, q: &mut Launches);
    /// Checks that kernels can compute this op, before memory for it is allocated on a GPU.
    ///
    /// # Errors
    /// Shapes for which they have no room; the message names a setting that helps.
    fn check_launch(&self) -> Result<()> {
        Ok(())
    }
    /// Floating-point operations, counting a multiply-add as two. Zero where memory traffic is the cost.
    fn flops(&self) -> u64 {
        0
    }
    /// Floating-point operations of each kernel launch, in order; those left out have none. They add up to [`Op::flops`].
    fn launch_flops(&self) -> Vec<u64> {
        vec![self.flops()]
    }
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
    /// Sums of gradients that are still to be made.
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

    /// Kind of device on which this tape will run.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Instructions that the kernels of this tape may use. An op that has a faster kernel for some chooses it when it is
    /// recorded.
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

    /// True if the gradient of `t` is needed.
    pub fn needs_grad(&self, t: Tensor) -> bool {
        !t.is_empty() && self.needs_grad.get(&t.place).copied().unwrap_or(false)
    }

    /// Keeps an intermediate's bytes until the program ends, so that they can be read.
    pub fn keep(&mut self, t: Tensor) {
        self.kept.push(t);
    }

    /// The nodes recorded so far, in the order in which they run.
    pub fn nodes(&self) -> &[Box<dyn Op>] {
        &self.nodes
    }

    /// Checks that the backend can run every node.
    ///
    /// # Errors
    /// The first node that it cannot run, by its name.
    pub fn check(&self) -> Result<()> {
        match self.backend {
            Backend::Cpu => Ok(()),
            Backend::Gpu(capability) => self.nodes.iter().try_for_each(|node| {
                node.check_launch()?;
                let mut launches = Launches::new(capability);
                node.launch(&mut launches);
                launches.list.iter().try_for_each(|launch| launch.check_grid(node.name()))
            }),
        }
    }

    /// Where the intermediates would lie: what a session needs memory for.
    pub fn plan(&self) -> Plan {
        let operands = self.nodes.iter().map(|node| [node.outputs(), node.inputs()].concat());
        Plan::new(operands, &self.arena, &self.kept)
    }

    /// Number of forward nodes, once the reverse pass is recorded.
    pub fn forward_nodes(&self) -> usize {
        self.forward_nodes.unwrap_or(self.nodes.len())
    }
}

#[cfg(test)]
mod tests;
