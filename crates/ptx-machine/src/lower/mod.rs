//! Turns a kernel's statements into a flat program: opcodes become operations, names become slots and addresses, and each
//! branch learns where its two sides meet again.

mod arithmetic;
mod control;
mod flow;
mod hopper;
mod memory;
mod opcode;
mod operands;
mod tensor;

use crate::error::{Error, Result};
use crate::parse::{Kernel, Module, Space, Statement, Width};
use crate::program::{Class, Instruction, Op, Origin, Parameter, Predicate, Program, Slot};
use opcode::Opcode;
use std::collections::HashMap;

pub(crate) use flow::END;
pub(crate) use operands::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_BYTES};

/// The first bytes of a block's shared memory, which belong to the system (sm_80 and later): no address below is valid.
pub(crate) const RESERVED_SHARED_BYTES: u32 = 1024;

/// Lowers one kernel. `globals` gives the addresses of the module's variables.
pub(crate) fn lower(module: &Module, kernel: &Kernel, globals: &HashMap<String, u64>) -> Result<Program> {
    let mut lowering = Lowering::new(module, kernel, globals);
    let mut starts = Vec::with_capacity(kernel.statements.len() + 1);
    for (i, statement) in kernel.statements.iter().enumerate() {
        starts.push(lowering.instructions.len() as u32);
        lowering.at = i;
        lowering.statement(statement)?;
    }
    lowering.at = kernel.statements.len().saturating_sub(1);
    starts.push(lowering.instructions.len() as u32);
    // A label may stand behind the last statement.
    lowering.emit(Class::Control, Op::Return);
    flow::finish(&mut lowering.instructions, &starts);
    Ok(lowering.program())
}

/// Everything that is known while a kernel is lowered.
struct Lowering<'m> {
    module: &'m Module,
    kernel: &'m Kernel,
    /// The first slot of each register, or its number among the predicates.
    registers: Vec<u32>,
    constants: HashMap<(u64, u32), Slot>,
    constant_values: Vec<(Slot, u32)>,
    slots: u32,
    predicates: u32,
    symbols: HashMap<&'m str, Symbol>,
    layout: Layout,
    instructions: Vec<Instruction>,
    /// The statement that is being lowered.
    at: usize,
}

/// A variable: its state space and address in it.
#[derive(Clone, Copy)]
struct Symbol {
    space: Space,
    address: u64,
}

#[derive(Default)]
struct Layout {
    parameters: Vec<Parameter>,
    parameter_bytes: u32,
    shared_end: u32,
    dynamic_align_bytes: u32,
    uses_dynamic_shared: bool,
    local_bytes: u32,
}

impl<'m> Lowering<'m> {
    fn new(module: &'m Module, kernel: &'m Kernel, globals: &HashMap<String, u64>) -> Lowering<'m> {
        let (mut slots, mut predicates) = (0, 2);
        let registers = kernel.registers.iter().map(|width| {
            let (count, step) = match width {
                Width::Predicate => (&mut predicates, 1),
                Width::Bits16 | Width::Bits32 => (&mut slots, 1),
                Width::Bits64 => (&mut slots, 2),
            };
            *count += step;
            *count - step
        });
        let registers = registers.collect();
        let mut lowering = Lowering {
            module,
            kernel,
            registers,
            constants: HashMap::new(),
            constant_values: Vec::new(),
            slots,
            predicates,
            symbols: HashMap::new(),
            layout: Layout { shared_end: RESERVED_SHARED_BYTES, dynamic_align_bytes: 16, ..Layout::default() },
            instructions: Vec::new(),
            at: 0,
        };
        lowering.lay_out(globals);
        lowering
    }

    /// Gives every variable its address.
    fn lay_out(&mut self, globals: &HashMap<String, u64>) {
        let (module, kernel) = (self.module, self.kernel);
        let layout = &mut self.layout;
        for parameter in &kernel.parameters {
            let offset = layout.parameter_bytes.next_multiple_of(parameter.align_bytes);
            layout.parameter_bytes = offset + parameter.bytes;
            layout.parameters.push(Parameter { offset, bytes: parameter.bytes });
            let symbol = Symbol { space: Space::Parameter, address: offset.into() };
            self.symbols.insert(&parameter.name, symbol);
        }
        let used = |name: &str| {
            kernel
                .statements
                .iter()
                .flat_map(|statement| &statement.operands)
                .any(|operand| operands::names(operand, name))
        };
        let all = || kernel.variables.iter().chain(&module.variables);
        for variable in all() {
            let address = match variable.space {
                Space::Shared if variable.bytes == 0 || !used(&variable.name) => continue,
                Space::Shared => place(&mut layout.shared_end, variable.align_bytes, variable.bytes).into(),
                Space::Local => place(&mut layout.local_bytes, variable.align_bytes, variable.bytes).into(),
                _ => match globals.get(&variable.name) {
                    Some(&address) => address,
                    None => continue,
                },
            };
            self.symbols.insert(&variable.name, Symbol { space: variable.space, address });
        }
        let dynamic = |v: &&crate::parse::Variable| v.space == Space::Shared && v.bytes == 0 && used(&v.name);
        for variable in all().filter(dynamic) {
            layout.dynamic_align_bytes = layout.dynamic_align_bytes.max(variable.align_bytes);
            layout.uses_dynamic_shared = true;
        }
        let address = layout.shared_end.next_multiple_of(layout.dynamic_align_bytes).into();
        for variable in all().filter(dynamic) {
            self.symbols.insert(&variable.name, Symbol { space: Space::Shared, address });
        }
    }

    fn program(self) -> Program {
        let kernel = self.kernel;
        let origin = |statement: &Statement| Origin {
            opcode: statement.opcode.clone(),
            ptx_line: statement.line,
            source: statement.source,
            call: statement.call,
        };
        Program {
            name: kernel.name.clone(),
            instructions: self.instructions,
            statements: kernel.statements.iter().map(origin).collect(),
            calls: kernel.calls.clone(),
            slots: self.slots,
            predicates: self.predicates,
            constants: self.constant_values,
            parameters: self.layout.parameters,
            parameter_bytes: self.layout.parameter_bytes,
            shared_end: self.layout.shared_end,
            dynamic_align_bytes: self.layout.dynamic_align_bytes,
            uses_dynamic_shared: self.layout.uses_dynamic_shared,
            local_bytes: self.layout.local_bytes,
            max_threads: kernel.max_threads,
            cluster: kernel.cluster,
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        let line = self.kernel.statements.get(self.at).map_or(0, |statement| statement.line);
        Error::Text { file: self.module.file.clone(), line, reason: reason.into() }
    }

    /// The opcode, or an operand of it, is none that this machine executes.
    fn unknown(&self) -> Error {
        let opcode = self.kernel.statements.get(self.at).map_or("", |statement| &statement.opcode);
        self.error(format!("`{opcode}` is not executed"))
    }

    fn emit(&mut self, class: Class, op: Op) {
        let guard = self.kernel.statements.get(self.at).and_then(|statement| statement.guard);
        let guard = guard.map(|g| Predicate { slot: self.registers[g.register as usize], negated: g.negated });
        self.instructions.push(Instruction { guard, op, class, statement: self.at as u32 });
    }

    fn statement(&mut self, statement: &'m Statement) -> Result<()> {
        let opcode = Opcode::new(&statement.opcode);
        let operands = &statement.operands;
        match opcode.name() {
            "mov" | "cvta" | "selp" | "setp" | "not" if self.moves(&opcode, operands)? => Ok(()),
            "and" | "or" | "xor" if opcode.has("pred") => self.logic(&opcode, operands),
            "cvt" => self.convert(&opcode, operands),
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "cp" | "ldmatrix" | "stmatrix" | "isspacep" => {
                self.memory(&opcode, operands)
            }
            "mma" | "wgmma" => self.tensor(&opcode, operands),
            "mbarrier" | "mapa" | "elect" | "fence" | "setmaxnreg" | "griddepcontrol" => self.hopper(&opcode, operands),
            "bra" | "ret" | "exit" | "trap" | "brkpt" | "bar" | "barrier" | "membar" | "shfl" | "vote"
            | "activemask" | "nanosleep" => self.control(&opcode, operands),
            _ => self.arithmetic(&opcode, operands),
        }
    }
}

fn place(end: &mut u32, align_bytes: u32, bytes: u32) -> u32 {
    let start = end.next_multiple_of(align_bytes.max(1));
    *end = start + bytes;
    start
}
