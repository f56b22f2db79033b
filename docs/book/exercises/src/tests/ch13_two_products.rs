use super::emulated::{Operand::*, launch, schedules};

#[test]
fn scores_stay_in_their_registers() {
    // Small whole numbers: the scores are exact in bf16.
    let numbers = |len: usize, step: usize| (0..len).map(|i| ((i * step) % 5) as f32 - 2.0).collect::<Vec<_>>();
    let (q, k, v) = (numbers(256, 7), numbers(256, 13), numbers(128, 11));
    let score = |row: usize, key: usize| (0..16).map(|d| q[row * 16 + d] * k[key * 16 + d]).sum::<f32>();
    let out = |row: usize, dim: usize| (0..16).map(|key| score(row, key) * v[key * 8 + dim]).sum::<f32>();
    let want: Vec<f32> = (0..128).map(|i| out(i / 8, i % 8)).collect();
    let operands = [Out(128), InBf16(&q), InBf16(&k), InBf16(&v)];
    for options in schedules() {
        assert_eq!(launch("ch13_two_products", [1, 32], &operands, options).unwrap(), want);
    }
}
