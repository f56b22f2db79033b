use super::emulated::{Operand::*, hopper_schedules, launch_with_shared};
use crate::ch12_swizzle::swizzled;
use ddpm::engine::device::TensorMap;
use ddpm::engine::tensor::DType;

/// A box of 24 rows of 32 numbers, each its own number, as it lies in shared memory.
#[test]
fn bytes_lie_where_tma_puts_them() {
    let numbers: Vec<f32> = (0..24 * 32).map(|i| i as f32).collect();
    let map = TensorMap::new(DType::F32, &[32, 24], &[32, 24]).swizzle_128();
    let operands = [Out(numbers.len()), Boxes(&numbers, map), Int(24 * 32)];
    let options = hopper_schedules().next().unwrap();
    let lying = launch_with_shared("ch12_box", [1, 128, 24 * 128], &operands, options).unwrap();
    for (row, column) in (0..24 * 32).map(|i| (i / 32, i % 32)) {
        let at = swizzled(row, column * 4);
        assert_eq!(lying[at / 4], (row * 32 + column) as f32, "row {row}, number {column}");
        assert_eq!(swizzled(row, column * 4 + 3), at + 3, "a number stays whole");
    }
}

/// Why it is done: neither eight rows at one place nor eight places of one row meet in a bank.
#[test]
fn columns_and_rows_are_read_in_one_turn() {
    for at in 0..8 {
        let groups =
            |addresses: [usize; 8]| addresses.iter().fold(0u32, |seen, address| seen | 1 << (address / 16 % 8));
        assert_eq!(groups(std::array::from_fn(|row| swizzled(row, at * 16))), 0xff, "column of chunks {at}");
        assert_eq!(groups(std::array::from_fn(|chunk| swizzled(at, chunk * 16))), 0xff, "row {at}");
    }
}
