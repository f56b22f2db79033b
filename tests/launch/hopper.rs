//! Products of whole warpgroups, by the kernels `product_...` of kernels/self_test/hopper.cuh, and sums of what the blocks of
//! a cluster load together, by `sum_in_cluster...` of kernels/self_test/cluster.cuh.

use super::Operand::{Boxes, Int, Out, Words};
use super::{Launch, Operand, bf16_pairs};
use ddpm::engine::device::{Driver, TensorMap};
use ddpm::engine::tensor::DType;
use std::ops::Range;

fn a(m: usize, k: usize) -> f32 {
    ((m * 37 + k * 29) % 97) as f32 / 8.0 - 6.0
}

fn b(n: usize, k: usize) -> f32 {
    ((n * 53 + k * 31) % 89) as f32 / 8.0 - 5.0
}

/// a b `[64, n]` over some of k.
pub fn product(n: usize, k: Range<usize>) -> Vec<f32> {
    let sum = |i: usize| k.clone().map(|k| f64::from(a(i / n, k)) * f64::from(b(i % n, k))).sum::<f64>() as f32;
    (0..64 * n).map(sum).collect()
}

/// One of the kernels `product_...` on operands whose products and sums are exact in f32.
pub struct Product {
    pub kernel: &'static str,
    n: usize,
    steps: usize,
    pub a: Vec<u32>,
    a_rows: Vec<u32>,
    pub b: Vec<u32>,
    pub a_map: TensorMap,
    pub b_map: TensorMap,
    pub expected: Vec<f32>,
}

impl Product {
    pub fn new(kernel: &'static str, n: usize, a_mn_major: bool, b_mn_major: bool, steps: usize) -> Product {
        let k = 64 * steps;
        // [rows, k], or transposed; boxes hold 64 elements of what is contiguous.
        let operand = |rows: usize, mn_major: bool, value: &dyn Fn(usize, usize) -> f32| {
            let columns = if mn_major { rows } else { k };
            let values: Vec<f32> = (0..rows * k)
                .map(|i| if mn_major { value(i % columns, i / columns) } else { value(i / columns, i % columns) })
                .collect();
            let dims = [columns, rows * k / columns];
            let box_rows = if mn_major { 64 } else { rows };
            (bf16_pairs(&values), TensorMap::new(DType::Bf16, &dims, &[64, box_rows]).swizzle_128())
        };
        let ((a_rows, _), (a_words, a_map)) = (operand(64, false, &a), operand(64, a_mn_major, &a));
        let (b_words, b_map) = operand(n, b_mn_major, &b);
        let expected = product(n, 0..k);
        Product { kernel, n, steps, a: a_words, a_rows, b: b_words, a_map, b_map, expected }
    }

    /// The product, `[64, n]`.
    pub fn run_on(&self, driver: &dyn Driver) -> ddpm::Result<Vec<f32>> {
        let words = self.launch(&self.operands()).run_on(driver)?.swap_remove(0);
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    pub fn operands(&self) -> [Operand<'_>; 5] {
        [
            Out(64 * self.n),
            Boxes(&self.a, self.a_map),
            Boxes(&self.b, self.b_map),
            Words(&self.a_rows),
            Int(self.steps as i32),
        ]
    }

    pub fn launch<'a>(&self, operands: &'a [Operand<'a>]) -> Launch<'a> {
        let stage_bytes = 64 * 128 + self.n.next_multiple_of(64) * 128;
        Launch { kernel: self.kernel, grid: 1, block: 160, smem_bytes: 2 * stage_bytes as u32 + 32, operands }
    }
}

/// One of the kernels `sum_in_cluster...`, on two clusters.
pub struct SumInCluster {
    pub kernel: &'static str,
    steps: usize,
    rows: Vec<u32>,
    map: TensorMap,
    pub expected: Vec<f32>,
}

impl SumInCluster {
    /// Blocks of the grid, two to a cluster.
    pub const BLOCKS: usize = 4;

    pub fn new(kernel: &'static str, steps: usize) -> SumInCluster {
        let x: Vec<f32> = (0..2 * steps * 32).map(|i| ((i * 37) % 101) as f32 - 50.0).collect(); // [2 * steps, 32]
        let rank = if kernel.ends_with("4d") { 4 } else { 3 };
        let map = TensorMap::new(DType::F32, &[32, 2 * steps, 1, 1][..rank], &[32, 1, 1, 1][..rank]);
        let sum = |rank: usize, lane: usize| -> f32 {
            x.chunks(64).map(|rows| (rank + 1) as f32 * rows[lane] + rows[32 + lane]).sum()
        };
        let expected = (0..SumInCluster::BLOCKS * 32).map(|i| sum(i / 32 % 2, i % 32)).collect();
        SumInCluster { kernel, steps, rows: x.into_iter().map(f32::to_bits).collect(), map, expected }
    }

    pub fn operands(&self) -> [Operand<'_>; 3] {
        [Out(SumInCluster::BLOCKS * 32), Boxes(&self.rows, self.map), Int(self.steps as i32)]
    }

    pub fn launch<'a>(&self, operands: &'a [Operand<'a>]) -> Launch<'a> {
        let smem_bytes = 2 * 2 * 32 * 4 + 4 * 8;
        Launch { kernel: self.kernel, grid: SumInCluster::BLOCKS as u32, block: 64, smem_bytes, operands }
    }
}
