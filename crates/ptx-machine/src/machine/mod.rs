//! Launches kernels: blocks on all cores, the blocks of a cluster together.

mod access;
mod alu;
mod atomics;
mod barriers;
mod block;
mod cluster;
mod copies;
mod exchange;
mod hopper;
mod step;
mod warp;
mod watch;

pub(crate) use cluster::Cluster;
pub(crate) use warp::Warp;

use crate::counters::{Counters, Counts};
use crate::error::{Error, Result};
use crate::lower::lower;
use crate::memory::Memory;
use crate::parse::{Module as Text, Space, parse};
use crate::program::{Hopper, Instruction, Op, Parameter, Program};
use crate::races::{Global, Races};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A machine: its memory, in which modules are loaded and on which kernels run.
#[derive(Debug, Default)]
pub struct Machine {
    pub memory: Memory,
}

/// A PTX text whose kernels can be launched.
#[derive(Debug)]
pub struct Module {
    file: String,
    sources: BTreeMap<u32, String>,
    programs: BTreeMap<String, Program>,
}

/// An argument of a kernel: its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument(pub Vec<u8>);

macro_rules! argument_from {
    ($($number:ty),*) => {
        $(impl From<$number> for Argument {
            fn from(value: $number) -> Argument {
                Argument(value.to_le_bytes().to_vec())
            }
        })*
    };
}
argument_from!(u32, i32, u64, i64, f32, f64);

/// Extents and arguments of a launch. Extents are x, y, z.
#[derive(Clone, Debug)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Blocks of a cluster.
    pub cluster: [u32; 3],
    pub dynamic_shared_bytes: u32,
    pub arguments: Vec<Argument>,
}

impl Launch {
    /// A launch of one-dimensional blocks without clusters or dynamic shared memory.
    pub fn new(blocks: u32, threads: u32, arguments: Vec<Argument>) -> Launch {
        Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], cluster: [1, 1, 1], dynamic_shared_bytes: 0, arguments }
    }
}

/// How kernels run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads of the host that run blocks; 0: as many as it has cores. With 1, blocks run in the order of their numbers.
    pub threads: usize,
    pub counters: bool,
    /// Report the first [`crate::Race`]. Blocks then run one after the other, in the order of their numbers, whatever
    /// `threads` says.
    pub races: bool,
    /// A warp that executes so many instructions is taken for one that never ends.
    pub warp_instructions: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: 0, counters: false, races: false, warp_instructions: 1 << 32 }
    }
}

impl Module {
    /// The names of its kernels, sorted.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }

    /// The parameters of a kernel.
    pub fn parameters(&self, kernel: &str) -> Option<&[Parameter]> {
        Some(&self.programs.get(kernel)?.parameters)
    }

    /// The distinct opcodes of all kernels.
    pub fn opcodes(&self) -> BTreeSet<&str> {
        let statements = self.programs.values().flat_map(|program| &program.statements);
        statements.map(|statement| statement.opcode.as_str()).collect()
    }

    /// File and line of the source of a statement.
    fn source(&self, program: &Program, statement: u32) -> Option<(String, u32)> {
        self.place(program.statements.get(statement as usize)?.source)
    }

    /// A line with the name of its file.
    fn place(&self, line: Option<(u32, u32)>) -> Option<(String, u32)> {
        let (file, line) = line?;
        Some((self.sources.get(&file)?.clone(), line))
    }
}

impl Machine {
    /// Reads a PTX text, allocates its variables, and lowers its kernels. `file` is its name in messages.
    ///
    /// # Errors
    /// A text that is not understood, or an instruction that is not executed: with file, line and opcode.
    pub fn load(&mut self, file: &str, text: &str) -> Result<Module> {
        let text = parse(file, text)?;
        let globals = self.load_variables(&text)?;
        let mut programs = BTreeMap::new();
        for kernel in &text.kernels {
            programs.insert(kernel.name.clone(), lower(&text, kernel, &globals)?);
        }
        Ok(Module { file: text.file, sources: text.files, programs })
    }

    fn load_variables(&mut self, text: &Text) -> Result<HashMap<String, u64>> {
        let mut globals = HashMap::new();
        for variable in &text.variables {
            if !matches!(variable.space, Space::Global | Space::Constant) {
                continue;
            }
            let mut bytes = variable.initial.clone();
            bytes.resize(variable.bytes as usize, 0);
            let address = self.memory.allocate(bytes.len());
            self.memory.write(address, &bytes)?;
            globals.insert(variable.name.clone(), address);
        }
        Ok(globals)
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// A launch that does not fit the kernel, a fault, or a race where these are looked for. Of several blocks that fail, the one of the lowest number that
    /// was run is reported.
    pub fn launch(&mut self, module: &Module, kernel: &str, launch: &Launch, options: &Options) -> Result<Counters> {
        let program = module.programs.get(kernel);
        let program = program.ok_or_else(|| Error::Launch(format!("{} has no kernel {kernel}", module.file)))?;
        let parameters = check(program, launch)?;
        let run = Run { module, program, memory: &self.memory, launch, options, parameters: &parameters };
        run.all()
    }
}

/// Checks a launch, and returns the bytes of its arguments as the kernel reads them.
fn check(program: &Program, launch: &Launch) -> Result<Vec<u8>> {
    let wrong = |reason: String| Err(Error::Launch(format!("{}: {reason}", program.name)));
    let threads = launch.block.iter().product::<u32>();
    let most = if program.max_threads == 0 { 1024 } else { program.max_threads };
    if threads == 0 || threads > most {
        return wrong(format!("{threads} threads in a block, it takes 1 to {most}"));
    }
    if let Some(cluster) = program.cluster
        && cluster != launch.cluster
    {
        return wrong(format!("clusters of {:?} blocks, it requires {cluster:?}", launch.cluster));
    }
    if (0..3)
        .any(|i| launch.grid[i] == 0 || launch.cluster[i] == 0 || !launch.grid[i].is_multiple_of(launch.cluster[i]))
    {
        return wrong(format!("a grid of {:?} blocks in clusters of {:?}", launch.grid, launch.cluster));
    }
    if launch.arguments.len() != program.parameters.len() {
        return wrong(format!("{} arguments, it takes {}", launch.arguments.len(), program.parameters.len()));
    }
    let mut bytes = vec![0; program.parameter_bytes as usize];
    for (i, (argument, parameter)) in launch.arguments.iter().zip(&program.parameters).enumerate() {
        if argument.0.len() != parameter.bytes as usize {
            return wrong(format!("argument {i} has {} bytes, it takes {}", argument.0.len(), parameter.bytes));
        }
        bytes[parameter.offset as usize..][..argument.0.len()].copy_from_slice(&argument.0);
    }
    Ok(bytes)
}

/// One launch while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub module: &'a Module,
    pub program: &'a Program,
    pub memory: &'a Memory,
    pub launch: &'a Launch,
    pub options: &'a Options,
    pub parameters: &'a [u8],
}

impl Run<'_> {
    fn all(&self) -> Result<Counters> {
        let [x, y, z] = std::array::from_fn(|i| (self.launch.grid[i] / self.launch.cluster[i]) as usize);
        let clusters = x * y * z;
        let threads = match self.options.threads {
            _ if self.options.races => 1,
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None::<(usize, Error)>);
        let work = |mut global: Option<Global>| {
            let mut counts = vec![Counts::default(); self.program.statements.len()];
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= clusters {
                    break counts;
                }
                let first = [i % x, i / x % y, i / (x * y)];
                let first = std::array::from_fn(|axis| first[axis] as u32 * self.launch.cluster[axis]);
                let races = global.as_mut().map(|global| self.races(i as u32, global));
                if let Err(error) = Cluster::new(*self, first, &mut counts, races).run() {
                    // No more begin.
                    next.store(clusters, Ordering::Relaxed);
                    let mut failed = failed.lock().expect("nobody panics with it");
                    if failed.as_ref().is_none_or(|(at, _)| i < *at) {
                        *failed = Some((i, error));
                    }
                }
            }
        };
        let threads = threads.min(clusters);
        let counts: Vec<Vec<Counts>> = if threads == 1 {
            vec![work(self.options.races.then(Global::default))]
        } else {
            std::thread::scope(|scope| {
                let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(None))).collect();
                handles.into_iter().map(|handle| handle.join().expect("a block panicked")).collect()
            })
        };
        match failed.into_inner().expect("nobody panics with it") {
            Some((_, error)) => Err(error),
            None => Ok(self.counters(&counts)),
        }
    }

    fn races<'g>(&self, cluster: u32, global: &'g mut Global) -> Box<Races<'g>> {
        let product = |instruction: &Instruction| match &instruction.op {
            Op::Hopper(hopper) => matches!(**hopper, Hopper::Product(_)),
            _ => false,
        };
        let slots = self.program.instructions.iter().any(product).then_some(self.program.slots);
        let [blocks, threads] = [self.launch.cluster, self.launch.block].map(|extents| extents.iter().product::<u32>());
        Races::new(cluster, blocks as usize, threads.div_ceil(32) as usize, slots, global)
    }

    /// Adds up what each statement was counted for, in all threads.
    fn counters(&self, counts: &[Vec<Counts>]) -> Counters {
        let mut counters = Counters::default();
        if !self.options.counters {
            return counters;
        }
        for statement in 0..self.program.statements.len() {
            let mut sum = Counts::default();
            for counts in counts {
                sum.add(&counts[statement]);
            }
            if sum == Counts::default() {
                continue;
            }
            counters.total.add(&sum);
            let line = self.module.source(self.program, statement as u32);
            let line = line.unwrap_or_else(|| (self.module.file.clone(), self.program.statements[statement].ptx_line));
            counters.lines.entry(line).or_default().add(&sum);
        }
        counters
    }
}
