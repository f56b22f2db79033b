//! The bridge to the C++ runtime: the C interface of `runtime/launch.cpp`.
#![allow(unsafe_code)]

#[cfg(has_runtime)]
pub use linked::{allow, check_available, forbid, kernels, launch, parameters};
#[cfg(not(has_runtime))]
pub use missing::{allow, check_available, forbid, kernels, launch, parameters};

#[cfg(has_runtime)]
mod linked {
    use crate::error::{Error, Result};
    use crate::launch::{Argument, Launch, Parameter, TensorMap};
    use crate::options::{AsyncCopies, Options, Schedule};
    use std::ffi::{CStr, CString, c_char, c_int, c_void};

    /// `emu::LaunchRequest`: same fields, same order.
    #[repr(C)]
    struct LaunchRequest {
        kernel: *const c_char,
        arguments: *const *const c_void,
        parameters: *const u16,
        count: usize,
        shared_bytes: usize,
        seed: u64,
        grid: [u32; 3],
        block: [u32; 3],
        schedule: Schedule,
        async_copies: AsyncCopies,
        os_threads: u32,
        compute_capability: [u32; 2],
    }

    unsafe extern "C" {
        fn emu_launch(launch: *const LaunchRequest, error: *mut c_char, error_bytes: usize) -> c_int;
        fn emu_kernel_name(i: usize) -> *const c_char;
        fn emu_kernel_parameters(name: *const c_char, count: *mut usize) -> *const u16;
        fn emu_forbid(p: *mut c_void, bytes: usize);
        fn emu_allow(p: *mut c_void, bytes: usize);
    }

    /// Checks that kernels can run here.
    ///
    /// # Errors
    /// A build without the runtime, or a processor that is too old for it.
    pub fn check_available() -> Result<()> {
        // What -march=x86-64-v3 lets the compiler use.
        let modern = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("movbe");
        if modern { Ok(()) } else { Err(Error::failed("the emulator needs a processor with AVX2 (x86-64-v3)")) }
    }

    /// Lists the names of all kernels that can be launched.
    pub fn kernels() -> Vec<&'static str> {
        // SAFETY: takes any index.
        let name = |i| unsafe { emu_kernel_name(i) };
        let names = (0..).map(name).take_while(|name| !name.is_null());
        // SAFETY: a string literal in the kernel's file.
        names.map(|name| unsafe { CStr::from_ptr(name) }.to_str().expect("an identifier")).collect()
    }

    /// Lists the parameters of a kernel; `None` if no kernel has this name.
    pub fn parameters(kernel: &str) -> Option<Vec<Parameter>> {
        let name = CString::new(kernel).ok()?;
        let mut count = 0;
        // SAFETY: the name ends in a NUL, and the number is written where a kernel has this name.
        let first = unsafe { emu_kernel_parameters(name.as_ptr(), &mut count) };
        if first.is_null() {
            return None;
        }
        // SAFETY: the kernel's table, which is constant, has so many entries.
        let words = unsafe { std::slice::from_raw_parts(first, count) };
        let parameter = |&word: &u16| match word {
            0 => Parameter::Pointer,
            1 => Parameter::Int32,
            2 => Parameter::Int64,
            3 => Parameter::Float,
            4 => Parameter::TensorMap,
            _ => Parameter::Struct(usize::from(word.saturating_sub(STRUCT))),
        };
        Some(words.iter().map(parameter).collect())
    }

    /// Launches a kernel and waits for it.
    ///
    /// # Errors
    /// A launch that does not fit the kernel, or a fault of the kernel.
    ///
    /// # Safety
    /// Every pointer that the arguments hold is null or points to as many live bytes as it says, to which nothing else
    /// refers meanwhile.
    pub unsafe fn launch(launch: &Launch, options: &Options) -> Result<()> {
        let kernel = CString::new(launch.kernel).map_err(|_| Error::failed("a name with a NUL"))?;
        let (values, parameters): (Vec<Value>, Vec<u16>) = launch.arguments.iter().map(encode).unzip();
        let address = |value: &Value| match value {
            Value::Word(word) => std::ptr::from_ref(word).cast(),
            Value::Map(map) => std::ptr::from_ref(&**map).cast(),
            Value::Struct(words) => words.as_ptr().cast(),
        };
        let arguments: Vec<*const c_void> = values.iter().map(address).collect();
        let request = LaunchRequest {
            kernel: kernel.as_ptr(),
            arguments: arguments.as_ptr(),
            parameters: parameters.as_ptr(),
            count: arguments.len(),
            shared_bytes: launch.shared_bytes,
            seed: options.seed,
            grid: launch.grid,
            block: launch.block,
            schedule: options.schedule,
            async_copies: options.async_copies,
            os_threads: options.os_threads,
            compute_capability: options.compute_capability.into(),
        };
        let mut error: [c_char; 1024] = [0; 1024];
        // SAFETY: `request` and what it points to outlive the call; the number and kinds of the arguments are checked
        // against the kernel's there, and the caller answers for the pointers.
        let failed = unsafe { emu_launch(&request, error.as_mut_ptr(), error.len()) } != 0;
        // SAFETY: emu_launch always writes a terminated string.
        let text = unsafe { CStr::from_ptr(error.as_ptr()) };
        if failed { Err(Error::failed(text.to_string_lossy())) } else { Ok(()) }
    }

    /// `emu::Parameter::Struct`, to which the size is added.
    const STRUCT: u16 = 0x1000;

    /// The memory that an argument's address points to.
    enum Value {
        /// The kernel reads as many bytes as its parameter has, from the low end.
        Word(u64),
        Map(Box<TensorMap>),
        /// Its bytes, aligned for any field.
        Struct(Vec<u64>),
    }

    /// A value and its `emu::Parameter`.
    fn encode(argument: &Argument) -> (Value, u16) {
        match *argument {
            Argument::Pointer { address, .. } => (Value::Word(address), 0),
            Argument::Int32(value) => (Value::Word(u64::from(value)), 1),
            Argument::Int64(value) => (Value::Word(value), 2),
            Argument::Float(value) => (Value::Word(u64::from(value.to_bits())), 3),
            Argument::TensorMap { map, .. } => (Value::Map(Box::new(map)), 4),
            Argument::Struct { ref value, .. } => {
                let parameter = STRUCT + u16::try_from(value.len()).expect("a struct is at most 4 KB");
                (Value::Struct(words(value)), parameter)
            }
        }
    }

    fn words(bytes: &[u8]) -> Vec<u64> {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        bytes.chunks(8).map(word).collect()
    }

    /// Makes every access to a range an error, in the address sanitizer's build.
    pub fn forbid(address: u64, bytes: usize) {
        // SAFETY: changes the sanitizer's view of a live allocation, and nothing else.
        unsafe { emu_forbid(std::ptr::without_provenance_mut(address as usize), bytes) }
    }

    /// Allows what [`forbid`] forbade.
    pub fn allow(address: u64, bytes: usize) {
        // SAFETY: as above.
        unsafe { emu_allow(std::ptr::without_provenance_mut(address as usize), bytes) }
    }
}

/// Stands in where the build found no C++ compiler.
#[cfg(not(has_runtime))]
mod missing {
    use crate::error::{Error, Result};
    use crate::launch::{Launch, Parameter};
    use crate::options::Options;

    fn error() -> Error {
        Error::failed("this build has no emulator: it was made without a C++ compiler, or not for x86-64 Linux")
    }

    /// Checks that kernels can run here.
    ///
    /// # Errors
    /// A build without the runtime, or a processor that is too old for it.
    pub fn check_available() -> Result<()> {
        Err(error())
    }

    /// Lists the names of all kernels that can be launched.
    pub fn kernels() -> Vec<&'static str> {
        Vec::new()
    }

    /// Finds no kernel.
    pub fn parameters(_: &str) -> Option<Vec<Parameter>> {
        None
    }

    /// Fails.
    ///
    /// # Safety
    /// None is needed.
    pub unsafe fn launch(_: &Launch, _: &Options) -> Result<()> {
        Err(error())
    }

    pub fn forbid(_: u64, _: usize) {}

    pub fn allow(_: u64, _: usize) {}
}
