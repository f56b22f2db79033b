//! Modules, their kernels, and launches.

use super::queues::{Action, Op, Work};
use super::{DEFAULT_SHARED_BYTES, Machine};
use crate::codes::{Code, Result};
use crate::image::{self, Kernel};
use crate::{mangled, tensor_map};
use kernel_emulator::{Argument, Parameter};
use std::collections::BTreeSet;

mod exports {
    // Every exported kernel: stem of its file, what it instantiates, its name.
    include!(concat!(env!("OUT_DIR"), "/exports.rs"));
}

/// A module in a context.
pub struct Loaded {
    pub context: u64,
    image: image::Module,
}

/// A kernel of a module.
#[derive(Clone)]
pub struct Function {
    pub context: u64,
    module: u64,
    kernel: Kernel,
    /// The emulated kernel that stands for it, and its parameters.
    name: &'static str,
    parameters: Vec<Parameter>,
    binary_version: u32,
    ptx_version: u32,
    /// The most dynamic shared memory that a launch may take.
    dynamic_shared_bytes: u32,
}

/// Grid, block, and dynamic shared memory of a launch.
pub struct Geometry {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
}

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65_536;

/// The exported name of a module's kernel. Two files may instantiate kernels of one name: the module's other kernels tell
/// which of them it is.
fn exported(module: &image::Module, symbol: &str) -> Option<&'static str> {
    let instances: BTreeSet<String> = module.kernels.iter().filter_map(|k| mangled::instance(&k.symbol)).collect();
    let wanted = mangled::instance(symbol)?;
    let is_of_file = |stem: &str| {
        exports::EXPORTS.iter().filter(|(file, ..)| *file == stem).all(|(_, instance, _)| instances.contains(*instance))
    };
    exports::EXPORTS.iter().find(|(stem, instance, _)| *instance == wanted && is_of_file(stem)).map(|&(.., name)| name)
}

impl Machine {
    pub fn load_module(&mut self, image: &[u8]) -> Result<u64> {
        let context = self.current()?;
        self.not_in_a_capture()?;
        let image = image::load(image, self.options.capability)?;
        let handle = self.handle();
        self.modules.insert(handle, Loaded { context, image });
        Ok(handle)
    }

    pub fn unload_module(&mut self, module: u64) -> Result<()> {
        let context = self.modules.get(&module).ok_or(Code::ERROR_INVALID_HANDLE)?.context;
        self.usable(context)?;
        self.not_in_a_capture()?;
        self.drain(context);
        self.modules.remove(&module);
        self.functions.retain(|_, function| function.module != module);
        self.usable(context).map(drop)
    }

    pub fn find_function(&mut self, module: u64, symbol: &str) -> Result<u64> {
        let loaded = self.modules.get(&module).ok_or(Code::ERROR_INVALID_HANDLE)?;
        let context = loaded.context;
        self.usable(context)?;
        // The same function has the same handle each time.
        let known = self.functions.iter().find(|(_, f)| f.module == module && f.kernel.symbol == symbol);
        if let Some((&handle, _)) = known {
            return Ok(handle);
        }
        let image = &loaded.image;
        let kernel = image.kernels.iter().find(|k| k.symbol == symbol).ok_or(Code::ERROR_NOT_FOUND)?.clone();
        let name =
            exported(image, symbol).unwrap_or_else(|| crate::fatal(&format!("no export is compiled to {symbol}")));
        let versions = (image.binary_version, image.ptx_version);
        Ok(self.insert_function(context, module, kernel, name, versions))
    }

    /// Enters a kernel that an emulated one stands for.
    pub(super) fn insert_function(
        &mut self,
        context: u64,
        module: u64,
        kernel: Kernel,
        name: &'static str,
        (binary_version, ptx_version): (u32, u32),
    ) -> u64 {
        let parameters = kernel_emulator::parameters(name)
            .unwrap_or_else(|| crate::fatal(&format!("there is no emulated kernel {name}")));
        let image: Vec<usize> = kernel.parameters.iter().map(|&(_, bytes)| bytes).collect();
        let emulated: Vec<usize> = parameters.iter().map(|parameter| parameter.bytes()).collect();
        if image != emulated {
            crate::fatal(&format!("{name}: parameters of {image:?} bytes in the image, of {emulated:?} emulated"));
        }
        let dynamic_shared_bytes = DEFAULT_SHARED_BYTES.saturating_sub(kernel.shared_bytes);
        let function =
            Function { context, module, kernel, name, parameters, binary_version, ptx_version, dynamic_shared_bytes };
        let handle = self.handle();
        self.functions.insert(handle, function);
        handle
    }

    fn function(&self, function: u64) -> Result<&Function> {
        let found = self.functions.get(&function).ok_or(Code::ERROR_INVALID_HANDLE)?;
        self.usable(found.context)?;
        Ok(found)
    }

    /// Loads a function's code now, and not at its first launch.
    pub fn load_function(&mut self, function: u64) -> Result<()> {
        self.function(function)?;
        self.not_in_a_capture()
    }

    pub fn function_attribute(&self, function: u64, attribute: u32) -> Result<i32> {
        let function = self.function(function)?;
        Ok(match attribute {
            0 => function.kernel.max_threads as i32,
            1 => function.kernel.shared_bytes as i32,
            4 => function.kernel.registers as i32,
            5 => function.ptx_version as i32,
            6 => function.binary_version as i32,
            8 => function.dynamic_shared_bytes as i32,
            _ => return Err(Code::ERROR_INVALID_VALUE),
        })
    }

    /// Sets the most dynamic shared memory of a launch, which is all that can be set here.
    pub fn set_function_attribute(&mut self, function: u64, attribute: u32, value: i32) -> Result<()> {
        const MOST_DYNAMIC_SHARED_BYTES: u32 = 8;
        let static_bytes = self.function(function)?.kernel.shared_bytes;
        let value = u32::try_from(value).map_err(|_| Code::ERROR_INVALID_VALUE)?;
        if attribute != MOST_DYNAMIC_SHARED_BYTES || static_bytes.saturating_add(value) > self.most_shared_bytes() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        self.functions.get_mut(&function).expect("found above").dynamic_shared_bytes = value;
        Ok(())
    }

    /// Offset and bytes of a parameter.
    pub fn parameter(&self, function: u64, index: usize) -> Result<(usize, usize)> {
        self.function(function)?.kernel.parameters.get(index).copied().ok_or(Code::ERROR_INVALID_VALUE)
    }

    /// Bytes of each parameter.
    pub fn parameter_bytes(&self, function: u64) -> Result<Vec<usize>> {
        Ok(self.function(function)?.kernel.parameters.iter().map(|&(_, bytes)| bytes).collect())
    }

    /// Enqueues a launch with the bytes of its parameters.
    pub fn launch(&mut self, handle: u64, geometry: &Geometry, stream: u64, values: &[Vec<u8>]) -> Result<()> {
        let (stream, context) = self.stream(stream)?;
        let function = self.function(handle)?;
        if function.context != context {
            return Err(Code::ERROR_INVALID_CONTEXT);
        }
        let Geometry { grid, block, shared_bytes } = *geometry;
        let kernel = &function.kernel;
        let threads = block.iter().map(|&n| u64::from(n)).product::<u64>();
        let has_grid = grid.iter().all(|&n| n > 0) && grid[0] < 1 << 31 && grid[1] < 1 << 16 && grid[2] < 1 << 16;
        if !has_grid || threads == 0 || threads > u64::from(kernel.max_threads) || block[2] > 64 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        // Registers are given to warps by eights.
        let warps = (threads as u32).div_ceil(32);
        if warps * 32 * kernel.registers.next_multiple_of(8) > REGISTERS {
            return Err(Code::ERROR_LAUNCH_OUT_OF_RESOURCES);
        }
        if shared_bytes > function.dynamic_shared_bytes {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        if !grid[0].is_multiple_of(kernel.cluster) {
            return Err(Code::ERROR_INVALID_CLUSTER_SIZE);
        }
        let (name, parameters) = (function.name, function.parameters.clone());
        let mut references = Vec::new();
        let mut arguments = Vec::new();
        let mut fault = None;
        for (i, (parameter, value)) in parameters.iter().zip(values).enumerate() {
            match self.argument(context, *parameter, value, &mut references) {
                Ok(argument) => arguments.push(argument),
                Err((code, text)) => {
                    fault = fault.or(Some(Action::Fault(code, format!("kernel {name}: argument {i}: {text}"))))
                }
            }
        }
        let shared_bytes = shared_bytes as usize;
        let launch = Action::Launch { function: handle, kernel: name, grid, block, shared_bytes, arguments };
        self.enqueue(stream, Op::Work(Work { references, action: fault.unwrap_or(launch) }))
    }

    /// Reads a parameter. A pointer may reach as far as its allocation does.
    fn argument(
        &self,
        context: u64,
        parameter: Parameter,
        value: &[u8],
        references: &mut Vec<super::queues::Reference>,
    ) -> std::result::Result<Argument, (Code, String)> {
        let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().expect("eight bytes"));
        let half = || u32::from_le_bytes(value.try_into().expect("four bytes"));
        Ok(match parameter {
            Parameter::Int32 => Argument::Int32(half()),
            Parameter::Float => Argument::Float(f32::from_bits(half())),
            Parameter::Int64 => Argument::Int64(word(0)),
            Parameter::Pointer if word(0) == 0 => Argument::Pointer { address: 0, bytes: 0 },
            Parameter::Pointer => {
                let address = word(0);
                let outside = || (Code::ERROR_ILLEGAL_ADDRESS, format!("{address:#x} lies in no allocation"));
                let (reference, bytes) = self.resolve(context, address, 0).ok_or_else(outside)?;
                references.push(reference);
                Argument::Pointer { address, bytes }
            }
            Parameter::TensorMap => {
                let map = tensor_map::decode(value);
                let map = map.ok_or((Code::ERROR_ILLEGAL_INSTRUCTION, "it is no tensor map".to_string()))?;
                let outside = || (Code::ERROR_ILLEGAL_ADDRESS, "the map's tensor lies in no allocation".to_string());
                let extent = tensor_map::extent(&map);
                let (reference, bytes) = self.resolve(context, map.address, extent).ok_or_else(outside)?;
                references.push(reference);
                Argument::TensorMap { map, bytes }
            }
            // The pointers in it are those of its words that are addresses.
            Parameter::Struct(bytes) => {
                let mut pointers = Vec::new();
                for at in (0..bytes.saturating_sub(7)).step_by(8) {
                    if let Some((reference, left)) = self.resolve(context, word(at), 0) {
                        references.push(reference);
                        pointers.push((word(at), left));
                    }
                }
                Argument::Struct { value: value.to_vec(), pointers }
            }
        })
    }
}
