use super::emulated::{Operand::*, launch, schedules};

#[test]
fn sums_of_squares_in_every_schedule() {
    for (rows, columns) in [(1, 1), (8, 32), (13, 77), (40, 5)] {
        let x: Vec<f32> = (0..rows * columns).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let operands = [Out(rows), In(&x), Int(rows as i32), Int(columns as i32)];
        for options in schedules() {
            let y = launch("row_squares", [rows.div_ceil(8), 256], &operands, options)
                .unwrap_or_else(|error| panic!("{rows} rows of {columns}: {error}"));
            for (row, x) in x.chunks(columns).enumerate() {
                let want: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                let error = (f64::from(y[row]) - want).abs();
                assert!(error <= 1e-5 * want + 1e-9, "row {row} of {rows}x{columns}: {} instead of {want}", y[row]);
            }
        }
    }
}
