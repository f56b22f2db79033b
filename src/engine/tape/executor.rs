//! Interface to the two ways to run a program: on the CPU, and through the driver of a GPU.

use super::program::Program;
use crate::Result;
use crate::engine::device::Backend;
use crate::engine::device::driver::ReadBack;
use crate::engine::tensor::Tensor;

/// Memory of one device, and its way to run programs.
pub(super) trait Executor: Send {
    /// Backend of the tapes that it runs.
    fn backend(&self) -> Backend;
    /// The device in words.
    fn name(&self) -> String;
    /// True if [`Executor::run`] returns before the work is done.
    fn is_asynchronous(&self) -> bool;
    /// Makes room for the intermediates of a program and for that many bytes of counters, and gets its nodes ready.
    ///
    /// # Errors
    /// Not enough memory.
    fn load(&mut self, program: &mut Program, counter_bytes: u64) -> Result<()>;
    /// Runs or enqueues all nodes.
    ///
    /// # Errors
    /// Errors of the device, as in all methods below.
    fn run(&mut self, program: &mut Program) -> Result<()>;
    /// Runs one node.
    fn run_node(&mut self, program: &mut Program, node: usize) -> Result<()>;
    /// Runs the program launch by launch (on the CPU: node by node): the milliseconds of each.
    fn time_ms(&mut self, program: &mut Program) -> Result<Vec<f64>>;
    /// Writes persistent tensors that lie next to each other, in order.
    fn write(&mut self, neighbours: &[(Tensor, &[u8])]) -> Result<()>;
    /// Values of a persistent tensor or, where a program is given, of one that it has kept. Waits for all work.
    fn read(&mut self, program: Option<&Program>, t: Tensor) -> Result<Vec<f32>>;
    /// Values of a small persistent f32 tensor after the work that is enqueued by now.
    fn read_later(&mut self, t: Tensor) -> Result<Later>;
    /// Waits until all work is done.
    fn synchronize(&self) -> Result<()>;
}

/// Values that may still have to be computed.
pub struct Later(Values);

enum Values {
    Here(Vec<f32>),
    Coming(Box<dyn ReadBack>),
}

impl Later {
    pub(super) fn here(values: Vec<f32>) -> Later {
        Later(Values::Here(values))
    }

    pub(super) fn coming(copy: Box<dyn ReadBack>) -> Later {
        Later(Values::Coming(copy))
    }

    /// Waits for them.
    ///
    /// # Errors
    /// Errors of the work before.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self.0 {
            Values::Here(values) => Ok(values),
            Values::Coming(copy) => Ok(bytemuck::pod_collect_to_vec(&copy.wait()?)),
        }
    }
}
