//! The C interface: the functions of `libcuda`, by the names and signatures of `cuda.h`.
//!
//! Each is as safe to call as the driver's own: pointers that it writes to or reads from must be valid for what the manual
//! says.
#![allow(unsafe_code)]
#![allow(non_snake_case)]

use crate::codes::{Code, Result};
use crate::machine::{Geometry, Machine};
use crate::options::Options;
use crate::{image, tensor_map};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, MutexGuard};

static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);

unsafe extern "C" {
    fn atexit(f: extern "C" fn()) -> c_int;
}

/// A thread that ended within a call holds the lock for ever: nothing is written then.
extern "C" fn at_exit() {
    if let Ok(machine) = MACHINE.try_lock()
        && let Some(machine) = machine.as_ref()
    {
        machine.write_counts();
    }
}

fn lock() -> MutexGuard<'static, Option<Machine>> {
    MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Makes a call of this name: its result's number.
fn call(name: &'static str, body: impl FnOnce(&mut Machine) -> Result<()>) -> u32 {
    let mut machine = lock();
    let machine = machine.get_or_insert_with(|| {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let options = Options::read(&std::env::var("CUDA_STAND_IN").unwrap_or_default())
            .map(|options| options.seen_through(visible.as_deref()));
        // SAFETY: the function takes no argument and is part of this library, which nothing unloads once it was called.
        unsafe { atexit(at_exit) };
        Machine::new(options.unwrap_or_else(|e| crate::fatal(&e)))
    });
    match machine.begin(name).and_then(|()| body(machine)) {
        Ok(()) => Code::SUCCESS.0,
        Err(code) => code.0,
    }
}

/// Writes a result to where the caller wants it.
///
/// # Safety
/// The pointer is null or valid for a write.
unsafe fn put<T>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        return Err(Code::ERROR_INVALID_VALUE);
    }
    // SAFETY: it is not null, and the caller answers for the rest.
    unsafe { place.write(value) };
    Ok(())
}

/// Handles are numbers that stand for no address.
fn handle(pointer: *mut c_void) -> u64 {
    pointer.addr() as u64
}

/// Defines a function that calls the machine: `name(arguments) |machine| expression`.
macro_rules! functions {
    ($($name:ident($($argument:ident: $ty:ty),*) |$machine:ident| $body:expr;)*) => {
        $(
            /// See the manual of the driver.
            ///
            /// # Safety
            /// Pointers are valid for what the manual says of them.
            #[unsafe(no_mangle)]
            #[allow(unused_unsafe)] // not every body needs it
            pub unsafe extern "C" fn $name($($argument: $ty),*) -> u32 {
                // SAFETY: what the body reads and writes through pointers is what the caller answers for.
                call(stringify!($name), |$machine| unsafe { $body })
            }
        )*
    };
}

functions! {
    cuInit(flags: c_uint) |machine| machine.init(flags);
    cuDriverGetVersion(version: *mut c_int) |machine| put(version, machine.version());
    cuGetErrorName(error: u32, text: *mut *const c_char) |_machine| put_text(text, Code(error).texts().map(|texts| texts.0));
    cuGetErrorString(error: u32, text: *mut *const c_char) |_machine| put_text(text, Code(error).texts().map(|texts| texts.1));

    cuDeviceGetCount(count: *mut c_int) |machine| put(count, machine.device_count());
    cuDeviceGet(device: *mut c_int, ordinal: c_int) |machine| put(device, machine.device(ordinal)? as c_int);
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) |machine|
        put(value, machine.device_attribute(attribute, device)?);
    cuDeviceGetName(name: *mut c_char, bytes: c_int, device: c_int) |machine|
        put_name(name, bytes, &machine.device_name(device)?);

    cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) |machine| put(context, machine.retain_context(device)?);
    cuDevicePrimaryCtxRelease_v2(device: c_int) |machine| machine.release_context(device);
    cuCtxGetCurrent(context: *mut u64) |machine| put(context, machine.current_context());
    cuCtxSetCurrent(context: *mut c_void) |machine| machine.set_current_context(handle(context));

    cuModuleLoadData(module: *mut u64, image: *const c_void) |machine| {
        let image = image.cast::<u8>();
        if image.is_null() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let header = std::slice::from_raw_parts(image, image::HEADER_BYTES);
        let image = std::slice::from_raw_parts(image, image::length(header)?);
        put(module, machine.load_module(image)?)
    };
    cuModuleUnload(module: *mut c_void) |machine| machine.unload_module(handle(module));
    cuModuleGetFunction(function: *mut u64, module: *mut c_void, name: *const c_char) |machine| {
        let name = CStr::from_ptr(name).to_str().map_err(|_| Code::ERROR_NOT_FOUND)?;
        put(function, machine.find_function(handle(module), name)?)
    };
    cuFuncLoad(function: *mut c_void) |machine| machine.load_function(handle(function));
    cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: *mut c_void) |machine|
        put(value, machine.function_attribute(handle(function), attribute)?);
    cuFuncSetAttribute(function: *mut c_void, attribute: c_uint, value: c_int) |machine|
        machine.set_function_attribute(handle(function), attribute, value);
    cuFuncGetParamInfo(function: *mut c_void, index: usize, offset: *mut usize, bytes: *mut usize) |machine| {
        let parameter = machine.parameter(handle(function), index)?;
        put(offset, parameter.0)?;
        if bytes.is_null() { Ok(()) } else { put(bytes, parameter.1) }
    };
    cuLaunchKernel(
        function: *mut c_void,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: *mut c_void,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void
    ) |machine| {
        let function = handle(function);
        let sizes = machine.parameter_bytes(function)?;
        if !extra.is_null() || parameters.is_null() && !sizes.is_empty() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let mut values = Vec::new();
        for (i, &bytes) in sizes.iter().enumerate() {
            let value = parameters.add(i).read();
            if value.is_null() {
                return Err(Code::ERROR_INVALID_VALUE);
            }
            values.push(std::slice::from_raw_parts(value.cast::<u8>(), bytes).to_vec());
        }
        let geometry = Geometry { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared_bytes };
        machine.launch(function, &geometry, handle(stream), &values)
    };

    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |machine| {
        let info = machine.memory_info()?;
        put(free, info.0)?;
        put(total, info.1)
    };
    cuMemAlloc_v2(address: *mut u64, bytes: usize) |machine| put(address, machine.allocate(bytes)?);
    cuMemFree_v2(address: u64) |machine| machine.free(address);
    cuMemHostAlloc(address: *mut u64, bytes: usize, flags: c_uint) |machine|
        put(address, machine.allocate_host(bytes, flags)?);
    cuMemFreeHost(address: *mut c_void) |machine| machine.free_host(handle(address));
    cuMemsetD8Async(address: u64, value: u8, bytes: usize, stream: *mut c_void) |machine|
        machine.fill(address, value, bytes, handle(stream));
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) |machine|
        machine.copy(to, from, bytes, handle(stream));
    cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: *mut c_void) |machine|
        machine.upload(to, from.addr() as u64, bytes, handle(stream), || {
            std::slice::from_raw_parts(from, bytes).to_vec()
        });
    cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: *mut c_void) |machine|
        machine.download(to.addr() as u64, from, bytes, handle(stream), |source| {
            std::ptr::copy_nonoverlapping(source.as_ptr(), to, bytes)
        });
    cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) |machine|
        machine.download_sync(from, bytes, |source| std::ptr::copy_nonoverlapping(source.as_ptr(), to, bytes));

    cuStreamCreate(stream: *mut u64, flags: c_uint) |machine| put(stream, machine.create_stream(flags)?);
    cuStreamDestroy_v2(stream: *mut c_void) |machine| machine.destroy_stream(handle(stream));
    cuStreamSynchronize(stream: *mut c_void) |machine| machine.synchronize_stream(handle(stream));
    cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, flags: c_uint) |machine|
        machine.wait(handle(stream), handle(event), flags);
    cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_uint) |machine|
        machine.begin_capture(handle(stream), mode);
    cuStreamEndCapture(stream: *mut c_void, graph: *mut u64) |machine| {
        put(graph, 0)?;
        put(graph, machine.end_capture(handle(stream))?)
    };

    cuEventCreate(event: *mut u64, flags: c_uint) |machine| put(event, machine.create_event(flags)?);
    cuEventDestroy_v2(event: *mut c_void) |machine| machine.destroy_event(handle(event));
    cuEventRecord(event: *mut c_void, stream: *mut c_void) |machine|
        machine.record(handle(event), handle(stream));
    cuEventSynchronize(event: *mut c_void) |machine| machine.synchronize_event(handle(event));
    cuEventElapsedTime(ms: *mut f32, start: *mut c_void, end: *mut c_void) |machine|
        put(ms, machine.elapsed_ms(handle(start), handle(end))?);

    cuGraphInstantiateWithFlags(executable: *mut u64, graph: *mut c_void, flags: u64) |machine|
        put(executable, machine.instantiate(handle(graph), flags)?);
    cuGraphUpload(executable: *mut c_void, stream: *mut c_void) |machine|
        machine.upload_graph(handle(executable), handle(stream));
    cuGraphLaunch(executable: *mut c_void, stream: *mut c_void) |machine|
        machine.launch_graph(handle(executable), handle(stream));
    cuGraphExecDestroy(executable: *mut c_void) |machine| machine.destroy_executable(handle(executable));
    cuGraphDestroy(graph: *mut c_void) |machine| machine.destroy_graph(handle(graph));

    cuTensorMapEncodeTiled(
        map: *mut [u8; tensor_map::BYTES],
        data_type: c_uint,
        rank: c_uint,
        address: *mut c_void,
        dims: *const u64,
        byte_strides: *const u64,
        box_dims: *const c_uint,
        element_strides: *const c_uint,
        interleave: c_uint,
        swizzle: c_uint,
        promotion: c_uint,
        fill: c_uint
    ) |_machine| {
        let arrays = [dims.is_null(), box_dims.is_null(), element_strides.is_null(), rank > 1 && byte_strides.is_null()];
        if !map.addr().is_multiple_of(64) || arrays.contains(&true) || !(1..=5).contains(&rank) || promotion > 3 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let rank_entries = rank as usize;
        let request = tensor_map::Request {
            data_type,
            rank,
            address: handle(address),
            dims: entries(dims, rank_entries),
            byte_strides: entries(byte_strides, rank_entries - 1),
            box_dims: entries(box_dims, rank_entries),
            element_strides: entries(element_strides, rank_entries),
            interleave,
            swizzle,
            fill,
        };
        put(map, tensor_map::encode(&request)?)
    };
}

/// Reads the first entries of an array; the others are 0.
///
/// # Safety
/// The array has so many.
unsafe fn entries<T: Copy + Default, const N: usize>(array: *const T, count: usize) -> [T; N] {
    // SAFETY: below `count`, which the caller answers for.
    std::array::from_fn(|i| if i < count { unsafe { array.add(i).read() } } else { T::default() })
}

/// Writes where a text lies; a null pointer and an error if there is none.
///
/// # Safety
/// As for [`put`].
unsafe fn put_text(place: *mut *const c_char, text: Option<&'static CStr>) -> Result<()> {
    // SAFETY: as for the caller.
    unsafe { put(place, text.map_or(std::ptr::null(), CStr::as_ptr)) }?;
    text.map(drop).ok_or(Code::ERROR_INVALID_VALUE)
}

/// Writes a name and a NUL, cut to the buffer.
///
/// # Safety
/// The buffer has so many bytes.
unsafe fn put_name(buffer: *mut c_char, bytes: c_int, name: &str) -> Result<()> {
    let room = usize::try_from(bytes - 1).map_err(|_| Code::ERROR_INVALID_VALUE)?;
    for (i, byte) in name.bytes().take(room).chain([0]).enumerate() {
        // SAFETY: at most `room` bytes and the NUL.
        unsafe { buffer.add(i).write(byte as c_char) };
    }
    Ok(())
}
