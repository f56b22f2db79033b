//! Running programs: a session owns the memory of one device, plans the tapes it is given and walks their lists.

use super::work::Passes;
use super::{Arg, Backend, Launches, Op, Plan, Tape, Work, plan, work};
use crate::Result;
use crate::engine::device::driver::{Allocation, ReadBack, Recording};
use crate::engine::device::{Capability, Device, Driver, KernelArg, KernelCall, Memory};
use crate::engine::tensor::{ALIGN_BYTES, DType, Place, Store, Tensor};
use bytemuck::{Pod, cast_slice, cast_slice_mut, pod_collect_to_vec};
use half::bf16;
use std::sync::Arc;
use std::time::Instant;

/// A tape that is planned and ready to run in the session that loaded it.
pub struct Program {
    nodes: Vec<Box<dyn Op>>,
    layers: Vec<Arc<str>>,
    backend: Backend,
    plan: Plan,
    /// The launches of node i are `calls[first_call[i]..first_call[i + 1]]`.
    calls: Vec<KernelCall>,
    first_call: Vec<usize>,
    recording: Option<Box<dyn Recording>>,
    /// Which allocations the resolved addresses refer to.
    generation: u64,
    passes: Passes,
}

impl Program {
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
        self.calls.len()
    }

    /// The names of the kernels that one run launches, in order; none on the CPU device.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(|call| call.kernel.as_str())
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.nodes.iter().map(|n| n.flops()).sum()
    }

    /// What each launch (on the CPU: each node) has to compute and to move.
    pub fn work(&self) -> Vec<Work> {
        work::work(&self.nodes, &self.layers, self.passes, self.backend)
    }
}

/// Device memory that goes back to its driver when dropped.
struct Gpu {
    driver: Box<dyn Driver>,
    persistent: Allocation,
    arena: Option<Allocation>,
    /// Zero between launches: see [`Tape::counters`]. All programs share them.
    counters: Option<Allocation>,
}

impl Gpu {
    fn address(&self, t: Tensor, plan: &Plan) -> u64 {
        match t.place {
            Place::Nowhere => 0,
            Place::Persistent(offset) => self.persistent.address + offset,
            Place::Arena(i) => {
                let base = self.arena.as_ref().expect("a loaded program has an arena").address;
                base + plan.offsets[i as usize].expect("a planned tensor")
            }
            Place::Counters(offset) => {
                self.counters.as_ref().expect("a loaded program has its counters").address + offset
            }
            Place::Unstored(_) => unreachable!("{t:?} has no bytes"),
        }
    }

    fn argument(&self, arg: &Arg, plan: &Plan) -> KernelArg {
        match *arg {
            Arg::Tensor(t) => KernelArg::Pointer { address: self.address(t, plan), bytes: t.bytes() },
            Arg::TensorMap(t, map) => KernelArg::TensorMap { address: self.address(t, plan), bytes: t.bytes(), map },
            Arg::I32(v) => KernelArg::I32(v),
            Arg::U32(v) => KernelArg::U32(v),
            Arg::U64(v) => KernelArg::U64(v),
            Arg::F32(v) => KernelArg::F32(v),
            Arg::Struct(ref fields) => {
                KernelArg::Struct(fields.iter().map(|field| self.argument(field, plan)).collect())
            }
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let persistent = std::mem::replace(&mut self.persistent, Allocation { address: 0, bytes: 0 });
        self.arena.take().into_iter().chain(self.counters.take()).chain([persistent]).for_each(|a| self.driver.free(a));
    }
}

/// Values that may still have to be computed.
pub struct Later(Values);

enum Values {
    Here(Vec<f32>),
    Coming(Box<dyn ReadBack>),
}

impl Later {
    /// Waits for them.
    ///
    /// # Errors
    /// What went wrong in the work before.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self.0 {
            Values::Here(values) => Ok(values),
            Values::Coming(copy) => Ok(pod_collect_to_vec(&copy.wait()?)),
        }
    }
}

enum Executor {
    Cpu(Memory),
    Gpu(Gpu),
}

/// Memory of one device and the programs' way to run on it.
pub struct Session {
    executor: Executor,
    persistent_bytes: u64,
    arena_bytes: u64,
    generation: u64,
}

impl Session {
    /// Allocates the persistent region, zeroed.
    ///
    /// # Errors
    /// When the device has not that much memory.
    pub fn new(device: Device, store: &Store) -> Result<Session> {
        let bytes = store.bytes();
        let executor = match device {
            Device::Cpu => Executor::Cpu(Memory::new(bytes)),
            Device::Gpu(driver) => {
                let persistent = driver.alloc(bytes as usize)?;
                driver.fill(persistent.address, persistent.bytes, 0)?;
                Executor::Gpu(Gpu { driver, persistent, arena: None, counters: None })
            }
        };
        Ok(Session { executor, persistent_bytes: bytes, arena_bytes: 0, generation: 0 })
    }

    /// What tapes for this session are recorded for.
    pub fn backend(&self) -> Backend {
        match &self.executor {
            Executor::Cpu(_) => Backend::Cpu,
            Executor::Gpu(gpu) => Backend::Gpu(Capability::of(gpu.driver.compute_capability())),
        }
    }

    /// Whether [`Session::run`] returns before the work is done.
    pub fn is_asynchronous(&self) -> bool {
        match &self.executor {
            Executor::Cpu(_) => false,
            Executor::Gpu(gpu) => gpu.driver.is_asynchronous(),
        }
    }

    /// The device in words.
    pub fn device_name(&self) -> String {
        match &self.executor {
            Executor::Cpu(_) => Device::Cpu.name(),
            Executor::Gpu(gpu) => gpu.driver.name(),
        }
    }

    /// Bytes that outlive a step, and bytes of the arena: together the peak.
    pub fn memory_bytes(&self) -> (u64, u64) {
        (self.persistent_bytes, self.arena_bytes)
    }

    /// Plans a tape. All programs of a session share one arena: they run one after the other, and an intermediate
    /// keeps its bytes only until the next program runs.
    ///
    /// # Errors
    /// An op that the device cannot run, or not enough memory for the arena.
    pub fn load(&mut self, tape: Tape) -> Result<Program> {
        assert_eq!(tape.backend, self.backend());
        tape.check()?;
        let passes = tape.passes();
        let plan = plan::plan(&tape.nodes, &tape.arena, &tape.kept);
        if plan.bytes > self.arena_bytes {
            match &mut self.executor {
                Executor::Cpu(memory) => memory.reserve_arena(plan.bytes),
                Executor::Gpu(gpu) => {
                    gpu.driver.synchronize()?;
                    gpu.arena.take().into_iter().for_each(|a| gpu.driver.free(a));
                    let arena = gpu.driver.alloc(plan.bytes as usize)?;
                    gpu.driver.fill(arena.address, arena.bytes, 0xff)?;
                    gpu.arena = Some(arena);
                }
            }
            self.arena_bytes = plan.bytes;
            self.generation += 1;
        }
        if let Executor::Gpu(gpu) = &mut self.executor
            && gpu.counters.as_ref().map_or(0, |counters| counters.bytes as u64) < tape.counter_bytes
        {
            gpu.driver.synchronize()?;
            gpu.counters.take().into_iter().for_each(|counters| gpu.driver.free(counters));
            let counters = gpu.driver.alloc(tape.counter_bytes as usize)?;
            gpu.driver.fill(counters.address, counters.bytes, 0)?;
            gpu.counters = Some(counters);
            self.generation += 1;
        }
        let mut program = Program {
            nodes: tape.nodes,
            layers: tape.layers,
            backend: tape.backend,
            plan,
            calls: Vec::new(),
            first_call: Vec::new(),
            recording: None,
            generation: 0,
            passes,
        };
        self.resolve(&mut program);
        Ok(program)
    }

    /// Turns the nodes' launches into calls with addresses.
    fn resolve(&self, program: &mut Program) {
        program.recording = None;
        program.generation = self.generation;
        let Executor::Gpu(gpu) = &self.executor else { return };
        program.calls.clear();
        program.first_call = vec![0];
        for (node, layer) in program.nodes.iter().zip(&program.layers) {
            let mut launches = Launches::new(self.backend().capability());
            node.launch(&mut launches);
            for launch in launches.list {
                program.calls.push(KernelCall {
                    args: launch.args.iter().map(|arg| gpu.argument(arg, &program.plan)).collect(),
                    kernel: launch.kernel,
                    layer: layer.clone(),
                    grid: launch.grid,
                    block: launch.block,
                    smem_bytes: launch.smem_bytes,
                });
            }
            program.first_call.push(program.calls.len());
        }
    }

    /// Runs a program once. On a GPU the call returns when the work is enqueued; the first call records it as one
    /// graph, later ones replay that.
    ///
    /// # Errors
    /// What the device reports.
    pub fn run(&mut self, program: &mut Program) -> Result<()> {
        if program.generation != self.generation {
            self.resolve(program);
        }
        match &mut self.executor {
            Executor::Cpu(memory) => {
                memory.bind(&program.plan.offsets);
                program.nodes.iter().for_each(|node| node.cpu(memory));
                Ok(())
            }
            Executor::Gpu(gpu) => match &mut program.recording {
                Some(recording) => recording.replay(),
                none => none.insert(gpu.driver.record(&program.calls)?).replay(),
            },
        }
    }

    /// Runs a program launch by launch (on the CPU: node by node) and returns the milliseconds that each took, in the
    /// order of [`Program::work`].
    ///
    /// # Errors
    /// What the device reports.
    pub fn time_ms(&mut self, program: &mut Program) -> Result<Vec<f64>> {
        if program.generation != self.generation {
            self.resolve(program);
        }
        match &mut self.executor {
            Executor::Cpu(memory) => {
                memory.bind(&program.plan.offsets);
                let mut timed = |node: &dyn Op| {
                    let start = Instant::now();
                    node.cpu(memory);
                    start.elapsed().as_secs_f64() * 1e3
                };
                Ok(program.nodes.iter().map(|node| timed(node.as_ref())).collect())
            }
            Executor::Gpu(gpu) => Ok(gpu.driver.time_ms(&program.calls)?.into_iter().map(f64::from).collect()),
        }
    }

    /// Runs the nodes one by one until one writes a value that is not finite: its name, and which of its outputs.
    ///
    /// # Errors
    /// What the device reports.
    pub fn first_non_finite(&mut self, program: &mut Program) -> Result<Option<String>> {
        if program.generation != self.generation {
            self.resolve(program);
        }
        for i in 0..program.nodes.len() {
            match &mut self.executor {
                Executor::Cpu(memory) => {
                    memory.bind(&program.plan.offsets);
                    program.nodes[i].cpu(memory);
                }
                Executor::Gpu(gpu) => {
                    program.calls[program.first_call[i]..program.first_call[i + 1]]
                        .iter()
                        .try_for_each(|call| gpu.driver.launch(call))?;
                }
            }
            for output in program.nodes[i].outputs() {
                if output.dtype() == DType::I32 || !output.is_stored() {
                    continue;
                }
                let columns = program.nodes[i].columns(output).unwrap_or(0..output.last_dim());
                let values = self.read_in(program, output)?;
                if values.chunks(output.last_dim()).any(|row| row[columns.clone()].iter().any(|v| !v.is_finite())) {
                    return Ok(Some(format!("{} (node {i}, output {output:?})", program.nodes[i].name())));
                }
            }
        }
        Ok(None)
    }

    /// Copies values into a persistent tensor, rounding to bf16 where it is stored so.
    ///
    /// # Errors
    /// What the device reports.
    pub fn write(&mut self, t: Tensor, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), t.numel(), "values for {t:?}");
        match t.dtype() {
            DType::F32 => self.write_bytes(t, values),
            DType::Bf16 => self.write_bytes(t, &values.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>()),
            DType::I32 => panic!("{t:?} holds integers"),
        }
    }

    /// Copies the bytes of 32-bit values into several persistent tensors, those that lie next to each other at once.
    ///
    /// # Errors
    /// What the device reports.
    pub fn write_all(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
        let place = |t: &Tensor| match t.place {
            Place::Persistent(offset) => offset as usize,
            _ => panic!("{t:?} is not persistent"),
        };
        let mut parts: Vec<(Tensor, &[u8])> = parts.to_vec();
        parts.sort_by_key(|(t, _)| place(t));
        assert!(parts.iter().all(|(t, bytes)| t.dtype() != DType::Bf16 && t.bytes() == bytes.len()), "{parts:?}");
        let end = |t: &Tensor| (place(t) + t.bytes()).next_multiple_of(ALIGN_BYTES as usize);
        for run in parts.chunk_by(|(t, _), (next, _)| end(t) == place(next)) {
            match &mut self.executor {
                Executor::Cpu(memory) => run.iter().for_each(|(t, bytes)| {
                    cast_slice_mut(memory.write(*t)).copy_from_slice(bytes);
                }),
                Executor::Gpu(gpu) => {
                    let first = run[0].0;
                    let mut together = Vec::new();
                    for (t, bytes) in run {
                        together.resize(place(t) - place(&first), 0);
                        together.extend_from_slice(bytes);
                    }
                    gpu.driver.upload(gpu.address(first, &Plan::default()), &together)?;
                }
            }
        }
        Ok(())
    }

    /// Copies integers into a persistent tensor.
    ///
    /// # Errors
    /// What the device reports.
    pub fn write_i32(&mut self, t: Tensor, values: &[i32]) -> Result<()> {
        assert!(t.dtype() == DType::I32 && values.len() == t.numel(), "integers for {t:?}");
        self.write_bytes(t, values)
    }

    fn write_bytes<T: Pod>(&mut self, t: Tensor, values: &[T]) -> Result<()> {
        assert!(matches!(t.place, Place::Persistent(_)), "{t:?} is not persistent");
        match &mut self.executor {
            Executor::Cpu(memory) => memory.write(t).copy_from_slice(cast_slice(values)),
            Executor::Gpu(gpu) => gpu.driver.upload(gpu.address(t, &Plan::default()), cast_slice(values))?,
        }
        Ok(())
    }

    /// The values of a persistent tensor, after all work is done.
    ///
    /// # Errors
    /// What the device reports, including errors of earlier work.
    pub fn read(&mut self, t: Tensor) -> Result<Vec<f32>> {
        assert!(matches!(t.place, Place::Persistent(_)), "{t:?} is not persistent");
        self.read_planned(&[], t)
    }

    /// The values of an intermediate that `program`, the last to run, has kept.
    ///
    /// # Errors
    /// As for [`Session::read`].
    pub fn read_in(&mut self, program: &Program, t: Tensor) -> Result<Vec<f32>> {
        self.read_planned(&program.plan.offsets, t)
    }

    /// The values of a small persistent f32 tensor as they will be when all work that is enqueued by now is done.
    ///
    /// # Errors
    /// What the device reports.
    pub fn read_later(&mut self, t: Tensor) -> Result<Later> {
        assert!(matches!(t.place, Place::Persistent(_)) && t.dtype() == DType::F32, "{t:?} is not persistent in f32");
        Ok(Later(match &mut self.executor {
            Executor::Cpu(memory) => Values::Here(memory.read(t).to_vec()),
            Executor::Gpu(gpu) => Values::Coming(gpu.driver.read_back(gpu.address(t, &Plan::default()), t.bytes())?),
        }))
    }

    fn read_planned(&mut self, offsets: &[Option<u64>], t: Tensor) -> Result<Vec<f32>> {
        match &mut self.executor {
            Executor::Cpu(memory) => {
                memory.bind(offsets);
                Ok(memory.read(t).to_vec())
            }
            Executor::Gpu(gpu) => {
                let plan = Plan { offsets: offsets.to_vec(), ..Plan::default() };
                let address = gpu.address(t, &plan);
                if t.dtype() == DType::Bf16 {
                    let mut raw = vec![bf16::ZERO; t.numel()];
                    gpu.driver.download(address, cast_slice_mut(&mut raw))?;
                    return Ok(raw.into_iter().map(bf16::to_f32).collect());
                }
                let mut values = vec![0f32; t.numel()];
                gpu.driver.download(address, cast_slice_mut(&mut values))?;
                Ok(values)
            }
        }
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// What went wrong in it.
    pub fn synchronize(&self) -> Result<()> {
        match &self.executor {
            Executor::Cpu(_) => Ok(()),
            Executor::Gpu(gpu) => gpu.driver.synchronize(),
        }
    }
}
