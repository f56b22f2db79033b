//! Programs on the CPU: node by node, each over all cores.

use super::executor::{Executor, Later};
use super::program::Program;
use crate::Result;
use crate::engine::device::{Backend, Device, Memory};
use crate::engine::tensor::Tensor;
use std::time::Instant;

/// The CPU's memory.
pub(super) struct Cpu(Memory);

impl Cpu {
    /// Allocates a zeroed persistent region.
    ///
    /// # Errors
    /// When that much memory is not free.
    pub(super) fn new(persistent_bytes: u64) -> Result<Cpu> {
        Ok(Cpu(Memory::new(persistent_bytes)?))
    }
}

impl Executor for Cpu {
    fn backend(&self) -> Backend {
        Backend::Cpu
    }

    fn name(&self) -> String {
        Device::Cpu.name()
    }

    fn is_asynchronous(&self) -> bool {
        false
    }

    fn load(&mut self, program: &mut Program, _counter_bytes: u64) -> Result<()> {
        self.0.reserve_arena(program.plan.bytes)
    }

    fn run(&mut self, program: &mut Program) -> Result<()> {
        self.0.bind(&program.plan.offsets);
        program.nodes.iter().for_each(|node| node.cpu(&mut self.0));
        Ok(())
    }

    fn run_node(&mut self, program: &mut Program, node: usize) -> Result<()> {
        self.0.bind(&program.plan.offsets);
        program.nodes[node].cpu(&mut self.0);
        Ok(())
    }

    fn time_ms(&mut self, program: &mut Program) -> Result<Vec<f64>> {
        self.0.bind(&program.plan.offsets);
        let timed = program.nodes.iter().map(|node| {
            let start = Instant::now();
            node.cpu(&mut self.0);
            start.elapsed().as_secs_f64() * 1e3
        });
        Ok(timed.collect())
    }

    fn write(&mut self, neighbours: &[(Tensor, &[u8])]) -> Result<()> {
        for (t, bytes) in neighbours {
            bytemuck::cast_slice_mut(self.0.write(*t)).copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read(&mut self, program: Option<&Program>, t: Tensor) -> Result<Vec<f32>> {
        self.0.bind(program.map_or(&[], |program| &program.plan.offsets));
        Ok(self.0.read(t).to_vec())
    }

    fn read_later(&mut self, t: Tensor) -> Result<Later> {
        Ok(Later::here(self.0.read(t).to_vec()))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}
