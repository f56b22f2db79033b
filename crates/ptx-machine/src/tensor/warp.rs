//! `mma.sync.m16n8k8` and `m16n8k16`: d [16, 8] = a [16, k] b [k, 8] + c.
//!
//! With g = lane / 4 and t = lane % 4, a lane holds
//!   of a, in register i, row g + 8 (i % 2), columns 2 t + 8 (i / 2) and the next;
//!   of b, in register i, rows 2 t + 8 i and the next, column g;
//!   of c and d, in register i, row g + 8 (i / 2), column 2 t + i % 2.

use super::element;
use crate::machine::Warp;
use crate::program::{Fragment, Slot};

/// Rows of a that a warp holds in registers, as floats.
pub(super) fn rows_of_a(warp: &Warp, fragment: Fragment, registers: &[Slot]) -> [[f32; 16]; 16] {
    let mut a = [[0.0; 16]; 16];
    for (i, &register) in registers.iter().enumerate() {
        let values = warp.get(register);
        for (lane, &value) in values.iter().enumerate() {
            let (row, column) = (lane / 4 + 8 * (i % 2), 2 * (lane % 4) + 8 * (i / 2));
            a[row][column] = element(fragment, value as u16);
            a[row][column + 1] = element(fragment, (value >> 16) as u16);
        }
    }
    a
}

pub(crate) fn mma(
    warp: &mut Warp,
    fragment: Fragment,
    k: usize,
    (d, a, b, c): ([Slot; 4], [Slot; 4], [Slot; 2], [Slot; 4]),
) {
    let a = rows_of_a(warp, fragment, &a[..k / 4]);
    let mut columns = [[0.0; 8]; 16];
    for (i, &register) in b[..k / 8].iter().enumerate() {
        for (lane, &value) in warp.get(register).iter().enumerate() {
            let (row, column) = (2 * (lane % 4) + 8 * i, lane / 4);
            columns[row][column] = element(fragment, value as u16);
            columns[row + 1][column] = element(fragment, (value >> 16) as u16);
        }
    }
    let mut sums = [[0.0f32; 8]; 16];
    let at = |lane: usize, i: usize| (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
    for (i, &register) in c.iter().enumerate() {
        for (lane, &value) in warp.get(register).iter().enumerate() {
            let (row, column) = at(lane, i);
            sums[row][column] = f32::from_bits(value);
        }
    }
    for (sums, a) in sums.iter_mut().zip(&a) {
        for (a, b) in a[..k].iter().zip(&columns) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (i, &register) in d.iter().enumerate() {
        let out = std::array::from_fn(|lane| {
            let (row, column) = at(lane, i);
            sums[row][column].to_bits()
        });
        warp.set(register, u32::MAX, &out);
    }
}
