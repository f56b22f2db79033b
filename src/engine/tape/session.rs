//! Running programs: a session owns the memory of one device, plans the tapes it is given and runs their lists.

use super::Tape;
use super::cpu::Cpu;
use super::executor::{Executor, Later};
use super::gpu::Gpu;
use super::program::Program;
use crate::Result;
use crate::engine::device::{Backend, Device};
use crate::engine::tensor::{ALIGN_BYTES, DType, Place, Store, Tensor};
use bytemuck::cast_slice;
use half::bf16;

/// Memory of one device and the programs' way to run on it.
pub struct Session {
    executor: Box<dyn Executor>,
    persistent_bytes: u64,
    arena_bytes: u64,
}

impl Session {
    /// Allocates the persistent region, zeroed.
    ///
    /// # Errors
    /// When the device has not that much memory.
    pub fn new(device: Device, store: &Store) -> Result<Session> {
        let persistent_bytes = store.bytes();
        let executor: Box<dyn Executor> = match device {
            Device::Cpu => Box::new(Cpu::new(persistent_bytes)?),
            Device::Gpu(driver) => Box::new(Gpu::new(driver, persistent_bytes)?),
        };
        Ok(Session { executor, persistent_bytes, arena_bytes: 0 })
    }

    /// Backend for which tapes of this session are recorded.
    pub fn backend(&self) -> Backend {
        self.executor.backend()
    }

    /// True if [`Session::run`] returns before the work is done.
    pub fn is_asynchronous(&self) -> bool {
        self.executor.is_asynchronous()
    }

    /// The device in words.
    pub fn device_name(&self) -> String {
        self.executor.name()
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
        let counter_bytes = tape.counter_bytes;
        let mut program = Program::new(tape);
        self.executor.load(&mut program, counter_bytes)?;
        self.arena_bytes = self.arena_bytes.max(program.plan.bytes);
        Ok(program)
    }

    /// Runs a program once. On a GPU the call returns when the work is enqueued; the first call records it as one
    /// graph, later ones replay that.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn run(&mut self, program: &mut Program) -> Result<()> {
        self.executor.run(program)
    }

    /// Runs a program launch by launch (on the CPU: node by node) and returns the milliseconds that each took, in the
    /// order of [`Program::work`].
    ///
    /// # Errors
    /// Errors of the device.
    pub fn time_ms(&mut self, program: &mut Program) -> Result<Vec<f64>> {
        self.executor.time_ms(program)
    }

    /// Runs the nodes one by one until one writes a value that is not finite: its name, and which of its outputs.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn first_non_finite(&mut self, program: &mut Program) -> Result<Option<String>> {
        for i in 0..program.nodes.len() {
            self.executor.run_node(program, i)?;
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
    /// Errors of the device.
    pub fn write(&mut self, t: Tensor, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), t.numel(), "values for {t:?}");
        match t.dtype() {
            DType::F32 => self.write_bytes(t, cast_slice(values)),
            DType::Bf16 => {
                let rounded: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
                self.write_bytes(t, cast_slice(&rounded))
            }
            DType::I32 => panic!("{t:?} holds integers"),
        }
    }

    /// Copies the bytes of 32-bit values into several persistent tensors, those that lie next to each other at once.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn write_all(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
        let offset = |t: Tensor| match t.place {
            Place::Persistent(offset) => offset,
            _ => panic!("{t:?} is not persistent"),
        };
        let mut parts: Vec<(Tensor, &[u8])> = parts.to_vec();
        parts.sort_by_key(|(t, _)| offset(*t));
        assert!(parts.iter().all(|(t, bytes)| t.dtype() != DType::Bf16 && t.bytes() == bytes.len()), "{parts:?}");
        let end = |t: Tensor| (offset(t) + t.bytes() as u64).next_multiple_of(ALIGN_BYTES);
        let mut runs = parts.chunk_by(|(t, _), (next, _)| end(*t) == offset(*next));
        runs.try_for_each(|run| self.executor.write(run))
    }

    /// Copies integers into a persistent tensor.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn write_i32(&mut self, t: Tensor, values: &[i32]) -> Result<()> {
        assert!(t.dtype() == DType::I32 && values.len() == t.numel(), "integers for {t:?}");
        self.write_bytes(t, cast_slice(values))
    }

    fn write_bytes(&mut self, t: Tensor, bytes: &[u8]) -> Result<()> {
        assert!(matches!(t.place, Place::Persistent(_)), "{t:?} is not persistent");
        self.executor.write(&[(t, bytes)])
    }

    /// The values of a persistent tensor, after all work is done.
    ///
    /// # Errors
    /// Errors of the device, including those of earlier work.
    pub fn read(&mut self, t: Tensor) -> Result<Vec<f32>> {
        assert!(matches!(t.place, Place::Persistent(_)), "{t:?} is not persistent");
        self.executor.read(None, t)
    }

    /// The values of an intermediate that `program`, the last to run, has kept.
    ///
    /// # Errors
    /// As for [`Session::read`].
    pub fn read_in(&mut self, program: &Program, t: Tensor) -> Result<Vec<f32>> {
        self.executor.read(Some(program), t)
    }

    /// The values of a small persistent f32 tensor as they will be when all work that is enqueued by now is done.
    ///
    /// # Errors
    /// Errors of the device.
    pub fn read_later(&mut self, t: Tensor) -> Result<Later> {
        assert!(matches!(t.place, Place::Persistent(_)) && t.dtype() == DType::F32, "{t:?} is not persistent in f32");
        self.executor.read_later(t)
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Errors of that work.
    pub fn synchronize(&self) -> Result<()> {
        self.executor.synchronize()
    }
}
