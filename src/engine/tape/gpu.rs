//! Programs on a GPU, real or emulated: their launches with addresses, recorded as one graph.

use super::executor::{Executor, Later};
use super::program::{Calls, Program};
use super::{Arg, Launches, Plan};
use crate::Result;
use crate::engine::device::driver::Allocation;
use crate::engine::device::{Backend, Capability, Driver, KernelArg, KernelCall};
use crate::engine::tensor::{DType, Place, Tensor};
use bytemuck::cast_slice_mut;
use half::bf16;

/// Device memory, which goes back to its driver when dropped.
pub(super) struct Gpu {
    driver: Box<dyn Driver>,
    persistent: Allocation,
    arena: Option<Allocation>,
    /// Zero between launches: see [`Tape::counters`](super::Tape::counters). All programs share them.
    counters: Option<Allocation>,
    /// Counts the allocations that took the place of others: addresses of earlier generations do not hold.
    generation: u64,
}

impl Gpu {
    /// Allocates a zeroed persistent region.
    ///
    /// # Errors
    /// When the device has not that much memory.
    pub(super) fn new(driver: Box<dyn Driver>, persistent_bytes: u64) -> Result<Gpu> {
        let persistent = driver.alloc(persistent_bytes as usize)?;
        driver.fill(persistent.address, persistent.bytes, 0)?;
        Ok(Gpu { driver, persistent, arena: None, counters: None, generation: 0 })
    }

    /// Makes an allocation at least so large; a smaller one is freed, and its bytes are lost.
    fn grow(&mut self, place: fn(&mut Gpu) -> &mut Option<Allocation>, bytes: u64, fill: u8) -> Result<()> {
        if place(self).as_ref().map_or(0, |old| old.bytes as u64) >= bytes {
            return Ok(());
        }
        self.driver.synchronize()?;
        if let Some(old) = place(self).take() {
            self.driver.free(old);
        }
        self.generation += 1;
        let new = self.driver.alloc(bytes as usize)?;
        self.driver.fill(new.address, new.bytes, fill)?;
        *place(self) = Some(new);
        Ok(())
    }

    fn address(&self, t: Tensor, plan: Option<&Plan>) -> u64 {
        match t.place {
            Place::Nowhere => 0,
            Place::Persistent(offset) => self.persistent.address + offset,
            Place::Arena(i) => {
                let base = self.arena.as_ref().expect("a loaded program has an arena").address;
                base + plan.and_then(|plan| plan.offsets[i as usize]).expect("a planned tensor")
            }
            Place::Counters(offset) => {
                self.counters.as_ref().expect("a loaded program has its counters").address + offset
            }
            Place::Unstored(_) => unreachable!("{t:?} has no bytes"),
        }
    }

    fn argument(&self, arg: &Arg, plan: &Plan) -> KernelArg {
        let address = |t| self.address(t, Some(plan));
        match *arg {
            Arg::Tensor(t) => KernelArg::Pointer { address: address(t), bytes: t.bytes() },
            Arg::TensorMap(t, map) => KernelArg::TensorMap { address: address(t), bytes: t.bytes(), map },
            Arg::I32(v) => KernelArg::I32(v),
            Arg::U32(v) => KernelArg::U32(v),
            Arg::U64(v) => KernelArg::U64(v),
            Arg::F32(v) => KernelArg::F32(v),
            Arg::Struct(ref fields) => {
                KernelArg::Struct(fields.iter().map(|field| self.argument(field, plan)).collect())
            }
        }
    }

    /// Turns the nodes' launches into calls with the addresses that hold now.
    fn resolve(&self, program: &mut Program) {
        let (mut list, mut first) = (Vec::new(), vec![0]);
        for (node, layer) in program.nodes.iter().zip(&program.layers) {
            let mut launches = Launches::new(self.backend().capability()).on(self.driver.multiprocessors());
            node.launch(&mut launches);
            list.extend(launches.list.into_iter().map(|launch| KernelCall {
                args: launch.args.iter().map(|arg| self.argument(arg, &program.plan)).collect(),
                kernel: launch.kernel,
                layer: layer.clone(),
                grid: launch.grid,
                block: launch.block,
                smem_bytes: launch.smem_bytes,
            }));
            first.push(list.len());
        }
        program.calls = Calls { list, first, recording: None, generation: self.generation };
    }

    fn refresh(&self, program: &mut Program) {
        if program.calls.generation != self.generation {
            self.resolve(program);
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let persistent = std::mem::replace(&mut self.persistent, Allocation { address: 0, bytes: 0 });
        self.arena.take().into_iter().chain(self.counters.take()).chain([persistent]).for_each(|a| self.driver.free(a));
    }
}

impl Executor for Gpu {
    fn backend(&self) -> Backend {
        Backend::Gpu(Capability::of(self.driver.compute_capability()))
    }

    fn name(&self) -> String {
        self.driver.name()
    }

    fn is_asynchronous(&self) -> bool {
        self.driver.is_asynchronous()
    }

    fn load(&mut self, program: &mut Program, counter_bytes: u64) -> Result<()> {
        self.grow(|gpu| &mut gpu.arena, program.plan.bytes, 0xff)?;
        self.grow(|gpu| &mut gpu.counters, counter_bytes, 0)?;
        self.resolve(program);
        Ok(())
    }

    fn run(&mut self, program: &mut Program) -> Result<()> {
        self.refresh(program);
        match &mut program.calls.recording {
            Some(recording) => recording.replay(),
            none => none.insert(self.driver.record(&program.calls.list)?).replay(),
        }
    }

    fn run_node(&mut self, program: &mut Program, node: usize) -> Result<()> {
        self.refresh(program);
        program.calls.of_node(node).iter().try_for_each(|call| self.driver.launch(call))
    }

    fn time_ms(&mut self, program: &mut Program) -> Result<Vec<f64>> {
        self.refresh(program);
        Ok(self.driver.time_ms(&program.calls.list)?.into_iter().map(f64::from).collect())
    }

    fn write(&mut self, neighbours: &[(Tensor, &[u8])]) -> Result<()> {
        let address = |t: Tensor| self.address(t, None);
        match *neighbours {
            [] => Ok(()),
            [(t, bytes)] => self.driver.upload(address(t), bytes),
            [(first, _), ..] => {
                let mut together = Vec::new();
                for &(t, bytes) in neighbours {
                    together.resize((address(t) - address(first)) as usize, 0);
                    together.extend_from_slice(bytes);
                }
                self.driver.upload(address(first), &together)
            }
        }
    }

    fn read(&mut self, program: Option<&Program>, t: Tensor) -> Result<Vec<f32>> {
        let address = self.address(t, program.map(|program| &program.plan));
        if t.dtype() == DType::Bf16 {
            let mut raw = vec![bf16::ZERO; t.numel()];
            self.driver.download(address, cast_slice_mut(&mut raw))?;
            return Ok(raw.into_iter().map(bf16::to_f32).collect());
        }
        let mut values = vec![0f32; t.numel()];
        self.driver.download(address, cast_slice_mut(&mut values))?;
        Ok(values)
    }

    fn read_later(&mut self, t: Tensor) -> Result<Later> {
        Ok(Later::coming(self.driver.read_back(self.address(t, None), t.bytes())?))
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }
}
