use super::emulated::{Operand::*, hopper_schedules, launch_with_shared};
use ddpm::engine::device::TensorMap;
use ddpm::engine::tensor::DType;

#[test]
fn every_row_is_added_once_in_every_schedule() {
    const ROWS: usize = 17;
    let x: Vec<f32> = (0..ROWS * 32).map(|i| ((i * 29) % 83) as f32).collect();
    let want: Vec<f32> = (0..32).map(|i| x.iter().skip(i).step_by(32).sum()).collect();
    let map = TensorMap::new(DType::F32, &[32, ROWS], &[32, 1]);
    for options in hopper_schedules() {
        let operands = [Out(32), Boxes(&x, map), Int(ROWS as i32)];
        let y = launch_with_shared("ch12_row_sums", [1, 64, 512], &operands, options).unwrap();
        assert_eq!(y, want, "{options:?}");
    }
}
