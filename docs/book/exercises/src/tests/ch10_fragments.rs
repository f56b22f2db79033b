use super::emulated::{Operand::*, launch, schedules};
use crate::ch10_fragments::{holder, pitch, turns};

/// Each lane writes down its four values of a product of which element (row, column) is 8 row + column.
#[test]
fn lanes_hold_what_the_instruction_gives_them() {
    let options = schedules().next().unwrap();
    let held = launch("held_by_lanes", [1, 32], &[Out(128)], options).unwrap();
    for row in 0..16 {
        for column in 0..8 {
            let (lane, value) = holder(row, column);
            assert!(lane < 32 && value < 4, "row {row}, column {column}: no value {value} of a lane {lane}");
            assert_eq!(held[lane * 4 + value], (8 * row + column) as f32, "row {row}, column {column}");
        }
    }
}

/// Word by word: the turns are the most different words that one bank is asked for.
fn counted(addresses: [usize; 8]) -> usize {
    let mut words: Vec<usize> = addresses.iter().flat_map(|at| (0..4).map(move |i| at / 4 + i)).collect();
    words.sort_unstable();
    words.dedup();
    (0..32).map(|bank| words.iter().filter(|word| *word % 32 == bank).count()).max().unwrap()
}

#[test]
fn turns_are_those_of_the_banks() {
    let rows = |pitch: usize| std::array::from_fn(|row| row * pitch);
    for pitch in [16, 32, 48, 64, 80, 128, 144, 256] {
        assert_eq!(turns(rows(pitch)), counted(rows(pitch)), "rows {pitch} bytes apart");
    }
    assert_eq!(turns([32; 8]), 1, "everybody reads the same");
    assert_eq!(turns([0, 128, 0, 128, 16, 16, 256, 48]), 3);
}

#[test]
fn the_pitch_is_the_least_without_conflicts() {
    for row_bytes in (16..=512).step_by(16) {
        let is_free = |pitch: usize| counted(std::array::from_fn(|row| row * pitch)) == 1;
        let least = (row_bytes..).step_by(16).find(|&pitch| is_free(pitch)).unwrap();
        assert_eq!(pitch(row_bytes), least, "rows of {row_bytes} bytes");
    }
}
