use super::emulated::{Operand::*, launch, schedules};

#[test]
fn any_number_of_elements() {
    for n in [1, 31, 64, 65, 100, 192, 1000] {
        let x: Vec<f32> = (0..n).map(|i| (i % 17) as f32 - 8.0).collect();
        let want: f32 = x.iter().sum();
        for options in schedules() {
            match launch("sum_of_any", [1, 64], &[Out(1), In(&x), Int(n)], options) {
                Ok(y) => assert_eq!(y, [want], "{n} numbers"),
                Err(error) => panic!("{n} numbers: {error}"),
            }
        }
    }
}
