use crate::ch8_floor::{floor_us, forward_bytes};
use ddpm::engine::device::{Backend, Capability};
use ddpm::engine::ops::group_norm::group_norm;
use ddpm::engine::tape::Tape;
use ddpm::engine::tensor::{DType, Store};

/// Bytes that the program counts of the launch, from its operands.
fn counted_by_the_program(n: usize, side: usize, c: usize, groups: usize) -> u64 {
    let mut store = Store::new();
    let x = store.tensor(&[n, side, side, c], DType::Bf16);
    let [gamma, beta] = [(); 2].map(|()| store.tensor(&[c], DType::F32));
    let mut tape = Tape::new(Backend::Gpu(Capability::Hopper), DType::Bf16);
    group_norm(&mut tape, x, gamma, beta, groups, 1e-6, true);
    tape.work()[0].bytes
}

#[test]
fn bytes_are_those_that_the_program_counts() {
    for (n, side, c, groups) in [(128, 32, 128, 32), (3, 5, 24, 8), (1, 1, 4, 1)] {
        let [images, pixels, channels, of] = [n, side * side, c, groups].map(|v| v as u64);
        let bytes = forward_bytes(images, pixels, channels, of);
        assert_eq!(bytes, counted_by_the_program(n, side, c, groups), "{n} images of {side}x{side}x{c}");
    }
}

#[test]
fn the_largest_norm_of_the_cifar_network_takes_sixteen_microseconds() {
    let floor = floor_us(forward_bytes(128, 1024, 128, 32), 4300.0);
    assert!((floor - 15.6).abs() <= 0.05, "{floor} us");
}
