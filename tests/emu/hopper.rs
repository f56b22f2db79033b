//! Hopper's instructions under emulation, with planted bugs. What correct kernels give is in tests/wrappers.rs.

use super::{EmuOptions, Int, Launch, OnEmulator, Out, schedules};
use crate::launch::Operand::{Boxes, OutBoxes, Words};
use crate::launch::hopper::Product;
use ddpm::engine::device::{Emu, TensorMap};
use ddpm::engine::tensor::DType;
use kernel_emulator::{Argument, Memory};

pub fn hopper(options: EmuOptions) -> EmuOptions {
    EmuOptions { compute_capability: (9, 0), ..options }
}

fn run(product: &Product, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
    product.run_on(&Emu::new(hopper(options))?)
}

/// As an error or as a wrong result.
#[cfg(not(ddpm_emu_sanitize = "thread"))]
#[test]
fn missing_waits_are_caught() {
    for kernel in
        ["product_no_full_wait", "product_no_empty_wait", "product_no_product_wait", "product_late_product_wait"]
    {
        let product = Product::new(kernel, 64, false, false, 6);
        let right = |&options: &EmuOptions| run(&product, options).is_ok_and(|c| c == product.expected);
        let caught = schedules().filter(|options| !right(options)).count();
        assert!(caught >= 4, "{kernel} was caught {caught} times");
    }
}

#[test]
fn operands_that_threads_wrote_need_a_proxy_fence() {
    let wrong = Product::new("product_doubled_without_fence", 64, false, false, 3);
    for options in schedules() {
        assert_eq!(run(&wrong, options).unwrap(), wrong.expected, "{options:?}: the products see a as it was loaded");
    }
}

fn store_many(kernel: &str, options: EmuOptions) -> ddpm::Result<Vec<f32>> {
    let map = TensorMap::new(DType::F32, &[32, 8], &[32, 1]);
    let operands = [OutBoxes(256, map)];
    Launch { kernel, grid: 1, block: 32, smem_bytes: 256, operands: &operands }.run_floats(hopper(options))
}

#[test]
fn stores_read_their_box_until_they_are_waited_for() {
    let expected: Vec<f32> = (0..256).map(|i| i as f32).collect();
    for options in schedules() {
        assert_eq!(store_many("store_many", options).unwrap(), expected);
        let error = store_many("store_many_never_waited", options).unwrap_err().to_string();
        assert!(error.contains("returned without waiting for tma_store at kernels/self_test/hopper.cuh:"), "{error}");
    }
    for options in schedules() {
        let stored = store_many("store_many_without_fence", options).unwrap();
        assert!(stored.iter().all(|v| v.is_nan()), "{options:?}");
    }
    let right = |&options: &EmuOptions| store_many("store_many_without_wait", options).unwrap() == expected;
    assert!(schedules().filter(|options| !right(options)).count() >= 2);
}

#[test]
fn misuse_is_an_error_that_names_the_place() {
    const RACES: [&str; 3] = ["product_half_announced", "product_extra_arrival", "product_descriptor_overrun"];
    let source = "kernels/self_test/hopper.cuh:";
    let cases: [(&str, &[&str]); 9] = [
        ("product_half_announced", &["more than announced", "mbar_init", source]),
        (
            "product_too_much_announced",
            &["deadlock: 128 threads wait in mbar_wait at", "1 threads wait in mbar_wait at", source],
        ),
        ("product_no_fence", &["no wgmma_fence()", source]),
        ("product_extra_arrival", &["2 of 128 arrivals", "mbar_init", source]),
        ("product_descriptor_overrun", &["a's descriptor reaches", source]),
        ("product_misaligned_box", &["tma_load", "not aligned to 1024", source]),
        ("product_different_descriptors", &["thread 32 gives other descriptors", source]),
        ("product_never_waited", &["returned without waiting for wgmma", source]),
        ("product_not_initialised", &["the mbarrier was not initialised", source]),
    ];
    for (kernel, wanted) in cases {
        if cfg!(ddpm_emu_sanitize = "thread") && RACES.contains(&kernel) {
            continue; // and reported as such, which ends the process
        }
        let product = Product::new(kernel, 64, false, false, 3);
        let error = run(&product, EmuOptions::default()).unwrap_err().to_string();
        assert!(error.contains(kernel), "{error}");
        for text in wanted {
            assert!(error.contains(text), "`{error}` does not say `{text}`");
        }
    }
}

#[test]
fn launches_are_refused_where_the_box_leaves_the_tensor_or_the_device_is_no_hopper() {
    let product = Product::new("product_64", 64, false, false, 1);
    let operands =
        [Out(64 * 64), Boxes(&product.a, product.a_map), Boxes(&product.b, product.b_map), Words(&[]), Int(1)];
    let error = product.launch(&operands).run(EmuOptions::default()).unwrap_err().to_string();
    assert!(error.contains("kernel product_64: it is for compute capability 9.0, the device has 8.0"), "{error}");

    let larger = TensorMap { dims: [64, 65, 1, 1, 1], ..product.a_map };
    let operands = [Out(64 * 64), Boxes(&product.a, larger), Boxes(&product.b, product.b_map), Words(&[]), Int(1)];
    let error = product.launch(&operands).run(hopper(EmuOptions::default())).unwrap_err().to_string();
    assert!(error.contains("argument 1: the tensor has only 8192 bytes"), "{error}");
}

/// By the emulator itself, which may be used without our own checks of tensor maps.
#[test]
fn with_the_swizzle_a_box_whose_rows_are_not_128_bytes_is_refused() {
    let mut memory = Memory::default();
    let [tensor, out] = [(); 2].map(|()| memory.allocate(1024).unwrap());
    let mut load = |elements: u32| {
        let map = kernel_emulator::TensorMap {
            address: tensor,
            byte_strides: [128, 2, 2, 2],
            dims: [64, 8, 1, 1, 1],
            box_dims: [elements, 8, 1, 1, 1],
            element_strides: [1; 5],
            rank: 2,
            element_bytes: 2,
            swizzle_128: 1,
        };
        let mut arguments = vec![
            Argument::Pointer { address: out, bytes: 1024 },
            Argument::TensorMap { map, bytes: 1024 },
            Argument::Int32(elements * 8 / 2),
        ];
        arguments.extend(vec![Argument::Int32(0); 5]);
        let (grid, block) = ([1; 3], [64, 1, 1]);
        let launch =
            kernel_emulator::Launch { kernel: "load_box_2d", grid, block, shared_bytes: 1024, arguments: &arguments };
        memory.launch(&launch, &hopper(EmuOptions::default()))
    };
    load(64).unwrap();
    let error = load(32).unwrap_err().to_string();
    assert!(error.contains("with the 128-byte swizzle, a box's rows are 128 bytes, not 64"), "{error}");
}
