use super::emulated::{Operand::*, launch, schedules, source};

#[test]
fn the_result_is_the_same_in_every_schedule() {
    const TILES: usize = 7;
    let x: Vec<f32> = (0..TILES * 64).map(|i| ((i * 29) % 83) as f32).collect();
    let want: Vec<f32> = (0..TILES * 64).map(|i| x[i] + x[i / 64 * 64 + (i + 1) % 64]).collect();
    let operands = [Out(x.len()), In(&x), Int(TILES as i32)];
    for options in schedules() {
        let y = launch("neighbours", [1, 64], &operands, options).unwrap_or_else(|error| panic!("{error}"));
        if let Some(i) = (0..y.len()).find(|&i| y[i] != want[i]) {
            let (schedule, seed) = (options.schedule, options.seed);
            panic!("element {} of tile {} is {}, not {} ({schedule:?}, seed {seed})", i % 64, i / 64, y[i], want[i]);
        }
    }
    let barriers = source("ch9_neighbours.cu").matches("__syncthreads();").count();
    assert_eq!(barriers, 2, "one barrier was missing");
}
