//! Programs: tapes that are planned and ready to run.

use super::work::{Passes, work};
use super::{Op, Plan, Tape, Work};
use crate::engine::device::driver::Recording;
use crate::engine::device::{Backend, KernelCall};
use std::sync::Arc;

/// A tape that is planned and ready to run in the session that loaded it.
pub struct Program {
    pub(super) nodes: Vec<Box<dyn Op>>,
    /// The layer of each node.
    pub(super) layers: Vec<Arc<str>>,
    pub(super) plan: Plan,
    pub(super) calls: Calls,
    backend: Backend,
    passes: Passes,
}

/// The launches of a program with the addresses of its tensors; none on the CPU.
#[derive(Default)]
pub(super) struct Calls {
    pub list: Vec<KernelCall>,
    /// The launches of node i are `list[first[i]..first[i + 1]]`.
    pub first: Vec<usize>,
    /// All of them as one, once they have run.
    pub recording: Option<Box<dyn Recording>>,
    /// Allocations to which the addresses refer.
    pub generation: u64,
}

impl Calls {
    pub fn of_node(&self, node: usize) -> &[KernelCall] {
        &self.list[self.first[node]..self.first[node + 1]]
    }
}

impl Program {
    /// Plans a tape; the executor that will run it gets its nodes ready.
    pub(super) fn new(tape: Tape) -> Program {
        let (plan, passes) = (tape.plan(), tape.passes());
        let Tape { nodes, layers, backend, .. } = tape;
        Program { nodes, layers, plan, calls: Calls::default(), backend, passes }
    }

    /// The nodes, in the order in which they run.
    pub fn nodes(&self) -> &[Box<dyn Op>] {
        &self.nodes
    }

    /// Number of nodes of the forward pass; the rest is the reverse pass.
    pub fn forward_nodes(&self) -> usize {
        self.passes.forward
    }

    /// The memory plan of the intermediates.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Kernel launches of one run; 0 on the CPU device.
    pub fn launches(&self) -> usize {
        self.calls.list.len()
    }

    /// The names of the kernels that one run launches, in order; none on the CPU device.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.calls.list.iter().map(|call| call.kernel.as_str())
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.nodes.iter().map(|n| n.flops()).sum()
    }

    /// Work of each launch (on the CPU: of each node), in order.
    pub fn work(&self) -> Vec<Work> {
        work(&self.nodes, &self.layers, self.passes, self.backend)
    }
}
