//! Calls that the driver would refuse, and work that it does too late for a program that counts on luck.

use super::modules::Geometry;
use super::*;
use crate::image::Kernel;

/// A machine with a current context and a stream that nothing blocks.
fn machine(options: &str) -> (Machine, u64) {
    let mut machine = Machine::new(Options::read(options).unwrap());
    machine.init(0).unwrap();
    let context = machine.retain_context(0).unwrap();
    machine.set_current_context(context).unwrap();
    let stream = machine.create_stream(1).unwrap();
    (machine, stream)
}

fn no_page() -> Vec<u8> {
    panic!("the memory is pinned")
}

fn bytes(machine: &mut Machine, address: u64, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    machine.download_sync(address, bytes, |source| read = source.to_vec()).unwrap();
    read
}

fn pinned(machine: &mut Machine, value: u8) -> u64 {
    let address = machine.allocate_host(8, 0).unwrap();
    machine.host.bytes_at(address, 8).unwrap().fill(value);
    address
}

/// `silu_fwd_f32` as a module's kernel: two pointers and a number of elements.
fn silu(machine: &mut Machine, kernel: Kernel) -> u64 {
    let context = machine.current().unwrap();
    let kernel = Kernel { symbol: "silu".into(), parameters: vec![(0, 8), (8, 8), (16, 8)], ..kernel };
    machine.insert_function(context, 0, kernel, "silu_fwd_f32", (80, 80))
}

/// Limits that no launch here reaches.
fn plain() -> Kernel {
    Kernel { max_threads: 1024, cluster: 1, ..Kernel::default() }
}

fn launch(machine: &mut Machine, function: u64, stream: u64, pointers: [u64; 2]) -> Result<()> {
    let geometry = Geometry { grid: [1; 3], block: [256, 1, 1], shared_bytes: 0 };
    let values: Vec<Vec<u8>> = pointers.iter().chain(&[2]).map(|word| word.to_le_bytes().to_vec()).collect();
    machine.launch(function, &geometry, stream, &values)
}

#[test]
fn one_stream_may_run_ahead_of_the_others_but_not_of_what_it_waits_for() {
    let (mut machine, first) = machine("run=ahead:2");
    let second = machine.create_stream(1).unwrap();
    let memory = machine.allocate(2).unwrap();
    machine.fill(memory, 1, 1, first).unwrap();
    machine.fill(memory + 1, 2, 1, second).unwrap();
    assert_eq!(bytes(&mut machine, memory, 2), [255, 2]);
    let event = machine.create_event(0).unwrap();
    machine.record(event, first).unwrap();
    machine.wait(second, event, 0).unwrap();
    assert_eq!(bytes(&mut machine, memory, 2), [1, 2]);
}

#[test]
fn a_copy_reads_pinned_memory_when_it_must_and_pageable_memory_at_once() {
    let (mut machine, stream) = machine("");
    let (device, host) = (machine.allocate(16).unwrap(), pinned(&mut machine, 1));
    machine.upload(device, host, 8, stream, no_page).unwrap();
    machine.upload(device + 8, 1, 8, stream, || vec![3; 8]).unwrap();
    machine.host.bytes_at(host, 8).unwrap().fill(2);
    assert_eq!(bytes(&mut machine, device, 16), [255; 16], "nothing has run");
    machine.synchronize_stream(stream).unwrap();
    assert_eq!(bytes(&mut machine, device, 16), [[2; 8], [3; 8]].concat());
}

#[test]
fn another_stream_runs_ahead_only_where_an_event_says_so() {
    for waits in [false, true] {
        let (mut machine, stream) = machine("");
        let other = machine.create_stream(1).unwrap();
        let (from, to) = (machine.allocate(8).unwrap(), machine.allocate(8).unwrap());
        machine.fill(from, 7, 8, other).unwrap();
        let event = machine.create_event(2).unwrap();
        machine.record(event, other).unwrap();
        machine.fill(from, 9, 8, other).unwrap();
        if waits {
            machine.wait(stream, event, 0).unwrap();
        }
        machine.copy(to, from, 8, stream).unwrap();
        machine.synchronize_stream(stream).unwrap();
        assert_eq!(bytes(&mut machine, to, 8), [if waits { 7 } else { 255 }; 8]);
    }
}

#[test]
fn an_event_is_waited_for_as_it_was_recorded_then() {
    let (mut machine, stream) = machine("");
    let memory = machine.allocate(8).unwrap();
    let event = machine.create_event(0).unwrap();
    assert_eq!(machine.elapsed_ms(event, event), Err(Code::ERROR_INVALID_HANDLE), "never recorded");
    machine.fill(memory, 1, 8, stream).unwrap();
    machine.record(event, stream).unwrap();
    machine.fill(memory, 2, 8, stream).unwrap();
    assert_eq!(machine.elapsed_ms(event, event), Err(Code::ERROR_NOT_READY));
    machine.synchronize_event(event).unwrap();
    assert_eq!(bytes(&mut machine, memory, 8), [1; 8]);
    assert_eq!(machine.elapsed_ms(event, event), Ok(0.0));
    let untimed = machine.create_event(2).unwrap();
    machine.record(untimed, stream).unwrap();
    machine.synchronize_event(untimed).unwrap();
    assert_eq!(machine.elapsed_ms(event, untimed), Err(Code::ERROR_INVALID_HANDLE));
}

#[test]
fn the_legacy_stream_and_blocking_ones_wait_for_each_other() {
    let (mut machine, free) = machine("");
    let blocking = machine.create_stream(0).unwrap();
    let memory = machine.allocate(16).unwrap();
    machine.fill(memory, 1, 8, blocking).unwrap();
    machine.fill(memory + 8, 1, 8, free).unwrap();
    assert_eq!(bytes(&mut machine, memory, 16), [[1; 8], [255; 8]].concat());
}

#[test]
fn a_capture_refuses_what_could_break_it() {
    let unsafe_calls: [fn(&mut Machine) -> Result<()>; 6] = [
        |machine| machine.allocate(8).map(drop),
        |machine| machine.allocate_host(8, 0).map(drop),
        |machine| {
            let event = machine.create_event(2)?;
            machine.synchronize_event(event)
        },
        |machine| {
            let &address = machine.devices[0].blocks.keys().next().unwrap();
            machine.free(address)
        },
        |machine| {
            let &address = machine.devices[0].blocks.keys().next().unwrap();
            machine.download_sync(address, 8, |_| {})
        },
        |machine| machine.load_module(&[]).map(drop),
    ];
    for (mode, refuses_here, refuses_elsewhere) in [(0, true, true), (1, true, false), (2, false, false)] {
        for (i, call) in unsafe_calls.iter().enumerate() {
            for (elsewhere, refused) in [(false, refuses_here), (true, refuses_elsewhere)] {
                let (mut machine, stream) = machine("");
                machine.allocate(8).unwrap();
                machine.begin_capture(stream, mode).unwrap();
                let context = machine.current_context();
                let mut attempt = || {
                    machine.set_current_context(context).unwrap();
                    call(&mut machine)
                };
                let result = match elsewhere {
                    true => std::thread::scope(|scope| scope.spawn(attempt).join().unwrap()),
                    false => attempt(),
                };
                let is_refused = result == Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED);
                assert_eq!(is_refused, refused, "mode {mode}, call {i}, elsewhere {elsewhere}: {result:?}");
                let ended = machine.end_capture(stream);
                assert_eq!(ended == Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED), refused, "mode {mode}, call {i}");
                assert_eq!(machine.synchronize_stream(stream), Ok(()), "the stream is usable again");
            }
        }
    }
}

#[test]
fn a_captured_stream_is_not_waited_for_and_captures_end_where_they_began() {
    let (mut machine, stream) = machine("");
    assert_eq!(machine.end_capture(stream), Err(Code::ERROR_ILLEGAL_STATE));
    assert_eq!(machine.begin_capture(0, 1), Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED), "the legacy stream");
    let event = machine.create_event(2).unwrap();
    machine.record(event, stream).unwrap();
    machine.begin_capture(stream, 1).unwrap();
    assert_eq!(machine.begin_capture(stream, 1), Err(Code::ERROR_ILLEGAL_STATE));
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| machine.end_capture(stream)).join().unwrap());
    assert_eq!(elsewhere, Err(Code::ERROR_STREAM_CAPTURE_WRONG_THREAD));
    assert_eq!(machine.wait(stream, event, 0), Err(Code::ERROR_STREAM_CAPTURE_ISOLATION));
    assert_eq!(machine.record(event, stream), Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED));
    assert_eq!(machine.end_capture(stream), Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED));

    machine.begin_capture(stream, 1).unwrap();
    machine.record(event, stream).unwrap();
    assert_eq!(machine.synchronize_event(event), Err(Code::ERROR_CAPTURED_EVENT));
    assert_eq!(machine.synchronize_stream(stream), Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED));
    assert_eq!(machine.end_capture(stream), Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn a_graph_runs_when_it_is_launched_and_reads_what_is_there_then() {
    let (mut machine, stream) = machine("");
    let (device, host) = (machine.allocate(8).unwrap(), pinned(&mut machine, 1));
    machine.begin_capture(stream, 1).unwrap();
    machine.upload(device, host, 8, stream, no_page).unwrap();
    let graph = machine.end_capture(stream).unwrap();
    let executable = machine.instantiate(graph, 0).unwrap();
    machine.destroy_graph(graph).unwrap();
    machine.upload_graph(executable, stream).unwrap();
    machine.synchronize_stream(stream).unwrap();
    assert_eq!(bytes(&mut machine, device, 8), [255; 8]);
    for value in [1, 2] {
        machine.host.bytes_at(host, 8).unwrap().fill(value);
        machine.launch_graph(executable, stream).unwrap();
        machine.synchronize_stream(stream).unwrap();
        assert_eq!(bytes(&mut machine, device, 8), [value; 8]);
    }
    machine.destroy_executable(executable).unwrap();
    assert_eq!(machine.launch_graph(executable, stream), Err(Code::ERROR_INVALID_VALUE));
}

#[test]
fn launches_are_held_to_the_limits_of_the_kernel_and_the_device() {
    let (mut machine, stream) = machine("cc=9.0");
    let memory = machine.allocate(8).unwrap();
    let kernel = Kernel { max_threads: 256, cluster: 2, shared_bytes: 1024, registers: 168, ..Kernel::default() };
    let function = silu(&mut machine, kernel);
    let values: Vec<Vec<u8>> = [memory, memory, 2].iter().map(|word| word.to_le_bytes().to_vec()).collect();
    let mut attempt = |grid: [u32; 3], threads: u32, shared_bytes: u32| {
        machine.launch(function, &Geometry { grid, block: [threads, 1, 1], shared_bytes }, stream, &values)
    };
    assert_eq!(attempt([2, 1, 1], 256, 0), Ok(()));
    assert_eq!(attempt([3, 1, 1], 256, 0), Err(Code::ERROR_INVALID_CLUSTER_SIZE));
    for (grid, threads) in [([0, 1, 1], 256), ([2, 65_536, 1], 256), ([2, 1, 1], 0), ([2, 1, 1], 257)] {
        assert_eq!(attempt(grid, threads, 0), Err(Code::ERROR_INVALID_VALUE), "{grid:?}, {threads} threads");
    }
    assert_eq!(attempt([2, 1, 1], 256, 47 << 10), Ok(()));
    assert_eq!(attempt([2, 1, 1], 256, (47 << 10) + 1), Err(Code::ERROR_INVALID_VALUE), "not asked for");
    machine.set_function_attribute(function, 8, 226 << 10).unwrap();
    assert_eq!(machine.set_function_attribute(function, 8, (226 << 10) + 1), Err(Code::ERROR_INVALID_VALUE));
    assert_eq!(machine.function_attribute(function, 8), Ok(226 << 10));
    let greedy = silu(&mut machine, Kernel { registers: 255, ..plain() });
    let geometry = Geometry { grid: [1; 3], block: [512, 1, 1], shared_bytes: 0 };
    assert_eq!(machine.launch(greedy, &geometry, stream, &values), Err(Code::ERROR_LAUNCH_OUT_OF_RESOURCES));
}

#[test]
fn an_error_of_a_kernel_shows_when_it_is_waited_for_and_stays() {
    let (mut machine, stream) = machine("");
    let function = silu(&mut machine, plain());
    let memory = machine.allocate(8).unwrap();
    launch(&mut machine, function, stream, [memory, 64]).unwrap();
    machine.fill(memory, 0, 8, stream).unwrap();
    let event = machine.create_event(2).unwrap();
    let error = Code::ERROR_ILLEGAL_ADDRESS;
    assert_eq!(machine.synchronize_stream(stream), Err(error));
    assert_eq!(machine.allocate(8), Err(error));
    assert_eq!(machine.fill(memory, 0, 8, stream), Err(error));
    assert_eq!(machine.synchronize_event(event), Err(error));
    assert_eq!(machine.memory_info(), Err(error));
    assert_eq!(machine.devices[0].memory.bytes_at(memory, 8).unwrap(), [255; 8], "nothing after it has run");
}

#[test]
fn a_kernel_runs_as_late_as_the_work_that_needs_it() {
    let (mut machine, stream) = machine("");
    let function = silu(&mut machine, plain());
    let (from, to) = (machine.allocate(8).unwrap(), machine.allocate(8).unwrap());
    machine.fill(from, 0, 8, stream).unwrap();
    launch(&mut machine, function, stream, [to, from]).unwrap();
    assert_eq!(bytes(&mut machine, to, 8), [255; 8], "a synchronous copy does not wait for such streams");
    machine.synchronize_stream(stream).unwrap();
    assert_eq!(bytes(&mut machine, to, 8), [0; 8]);
}

#[test]
fn contexts_do_not_mix() {
    let (mut machine, stream) = machine("devices=2");
    let (memory, function) = (machine.allocate(8).unwrap(), silu(&mut machine, plain()));
    let event = machine.create_event(2).unwrap();
    let second = machine.retain_context(1).unwrap();
    machine.set_current_context(second).unwrap();
    let elsewhere = machine.create_stream(1).unwrap();
    assert_eq!(launch(&mut machine, function, elsewhere, [memory; 2]), Err(Code::ERROR_INVALID_CONTEXT));
    assert_eq!(machine.fill(memory, 0, 8, elsewhere), Err(Code::ERROR_INVALID_VALUE));
    assert_eq!(machine.record(event, elsewhere), Err(Code::ERROR_INVALID_HANDLE));
    machine.release_context(0).unwrap();
    assert_eq!(machine.fill(memory, 0, 8, stream), Err(Code::ERROR_INVALID_HANDLE), "destroyed with its context");
    machine.set_current_context(0).unwrap();
    assert_eq!(machine.allocate(8), Err(Code::ERROR_INVALID_CONTEXT));
    assert_eq!(machine.device(2), Err(Code::ERROR_INVALID_DEVICE));
}

#[test]
fn memory_ends_and_calls_fail_where_the_options_say() {
    let (mut machine, _) = machine("memory=1K fail=cuMemAlloc_v2:2 fail=cuStreamSynchronize:1:700");
    assert_eq!(machine.allocate(1025), Err(Code::ERROR_OUT_OF_MEMORY));
    let memory = machine.allocate(1024).unwrap();
    assert_eq!(machine.memory_info(), Ok((0, 1024)));
    machine.free(memory).unwrap();
    assert_eq!(machine.free(memory), Err(Code::ERROR_INVALID_VALUE));
    assert_eq!(machine.memory_info(), Ok((1024, 1024)));
    assert_eq!(machine.begin("cuMemAlloc_v2"), Ok(()));
    assert_eq!(machine.begin("cuMemAlloc_v2"), Err(Code::ERROR_UNKNOWN));
    assert_eq!(machine.begin("cuMemAlloc_v2"), Ok(()));
    assert_eq!(machine.begin("cuStreamSynchronize"), Err(Code::ERROR_ILLEGAL_ADDRESS));
    assert_eq!(machine.allocate(8), Err(Code::ERROR_ILLEGAL_ADDRESS), "it stays");
}

#[test]
fn nothing_but_a_version_is_told_before_the_start() {
    let mut machine = Machine::new(Options::default());
    assert_eq!(machine.begin("cuDriverGetVersion"), Ok(()));
    assert_eq!(machine.begin("cuDeviceGet"), Err(Code::ERROR_NOT_INITIALIZED));
    assert_eq!(Machine::new(Options::read("devices=0").unwrap()).init(0), Err(Code::ERROR_NO_DEVICE));
}
