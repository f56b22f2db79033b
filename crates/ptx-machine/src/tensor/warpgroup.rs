//! `wgmma.mma_async`: a warp's 16 rows of d [64, n] += a [64, 16] b [16, n].
//!
//! The product is performed when it is issued, which is one of the times at which hardware may do so. Of d, lane l of a
//! warp holds, with g = l / 4 and t = l % 4, in register 4 j + i: row g + 8 (i / 2), column 8 j + 2 t + i % 2.

use super::element;
use super::warp::rows_of_a;
use crate::machine::Warp;
use crate::program::{Fragment, Product, ProductA};

/// An operand in shared memory as its descriptor gives it: blocks of 8 x 8, number i along m or n and j along k.
struct Operand<'s> {
    shared: &'s [u8],
    start: u32,
    leading: u32,
    stride: u32,
    mn_major: bool,
}

impl<'s> Operand<'s> {
    fn new(shared: &'s [u8], descriptor: u64, mn_major: bool, extent: u32, name: &str) -> Result<Operand<'s>, String> {
        let field = |shift: u32| ((descriptor >> shift & 0x3fff) as u32) << 4;
        let (start, leading, stride) = (field(0), field(16), field(32));
        if descriptor >> 62 != 1 || descriptor >> 49 & 7 != 0 {
            return Err(format!(
                "{name}'s descriptor {descriptor:#018x}: only the 128-byte swizzle with base offset 0 is executed"
            ));
        }
        let row_bytes = if !mn_major { 32 } else { (2 * extent).min(128) };
        if (start & 127) + row_bytes > 128 {
            let at = start & 127;
            return Err(format!("{name}'s rows of {row_bytes} bytes start at byte {at} of the swizzle's 128"));
        }
        let last = if mn_major { (extent - 1) / 64 * leading + stride } else { (extent / 8 - 1) * stride };
        let end = ((start + last + 7 * 128) | 127) + 1;
        if start < crate::lower::RESERVED_SHARED_BYTES || end as usize > shared.len() {
            let size = shared.len();
            return Err(format!("{name}'s descriptor reaches from {start:#x} to {end:#x} of {size:#x} shared bytes"));
        }
        Ok(Operand { shared, start, leading, stride, mn_major })
    }

    /// The address of row r of a block.
    #[inline(always)]
    fn address(&self, i: u32, j: u32, r: u32) -> u32 {
        let address = if self.mn_major {
            self.start + i / 8 * self.leading + j * self.stride + r * 128 + i % 8 * 16
        } else {
            self.start + i * self.stride + r * 128 + j * 16
        };
        address ^ (address >> 7 & 7) << 4
    }

    /// Row r of a block: 8 elements along k (K-major), or along m or n (MN-major).
    #[inline(always)]
    fn row(&self, fragment: Fragment, i: u32, j: u32, r: u32) -> [f32; 8] {
        let address = self.address(i, j, r) as usize;
        let bytes = &self.shared[address..address + 16];
        std::array::from_fn(|e| element(fragment, u16::from_le_bytes([bytes[2 * e], bytes[2 * e + 1]])))
    }

    /// Writes block (i, j) as rows along m or n: out(row, column along k, value).
    #[inline(always)]
    fn block(&self, fragment: Fragment, i: u32, j: u32, mut out: impl FnMut(usize, usize, f32)) {
        for r in 0..8 {
            for (e, value) in self.row(fragment, i, j, r).into_iter().enumerate() {
                let (row, column) = if self.mn_major { (e, r as usize) } else { (r as usize, e) };
                out(8 * i as usize + row, 8 * j as usize + column, value);
            }
        }
    }
}

/// Performs the rows of one warp.
///
/// # Errors
/// A descriptor that is not executed, or that reaches out of the block's shared memory.
pub(crate) fn product(warp: &mut Warp, shared: &[u8], product: &Product) -> Result<(), String> {
    let n = product.n as usize;
    let rank = warp.number % 4;
    let mut a = match &product.a {
        ProductA::Registers(registers) => rows_of_a(warp, product.fragment, registers),
        ProductA::Descriptor(slot) => {
            let descriptor = warp.get_wide(*slot)[warp.live.trailing_zeros() as usize];
            let operand = Operand::new(shared, descriptor, product.a_mn_major, 64, "a")?;
            let mut a = [[0.0; 16]; 16];
            for i in 2 * rank..2 * rank + 2 {
                for j in 0..2 {
                    operand.block(product.fragment, i, j, |row, k, value| a[row - 16 * rank as usize][k] = value);
                }
            }
            a
        }
    };
    if product.negate_a != product.negate_b {
        a.as_flattened_mut().iter_mut().for_each(|a| *a = -*a);
    }
    let descriptor = warp.get_wide(product.b)[warp.live.trailing_zeros() as usize];
    let operand = Operand::new(shared, descriptor, product.b_mn_major, product.n, "b")?;
    let mut b = [[0.0f32; 256]; 16];
    for i in 0..product.n / 8 {
        for j in 0..2 {
            operand.block(product.fragment, i, j, |column, k, value| b[k][column] = value);
        }
    }
    let accumulate = warp.predicate(product.accumulate);
    let mut sums = [[0.0f32; 256]; 16];
    for (register, &slot) in product.d.iter().enumerate() {
        let values = warp.get(slot);
        for (lane, &value) in values.iter().enumerate() {
            let (row, column) = place(register, lane);
            sums[row][column] = if accumulate >> lane & 1 == 1 { f32::from_bits(value) } else { 0.0 };
        }
    }
    for (sums, a) in sums.iter_mut().zip(&a) {
        for (a, b) in a.iter().zip(&b) {
            for (sum, b) in sums[..n].iter_mut().zip(&b[..n]) {
                *sum += a * b;
            }
        }
    }
    for (register, &slot) in product.d.iter().enumerate() {
        let out = std::array::from_fn(|lane| {
            let (row, column) = place(register, lane);
            sums[row][column].to_bits()
        });
        warp.set(slot, u32::MAX, &out);
    }
    Ok(())
}

/// Calls `read(address)` for each 16 bytes of shared memory that a product reads. The manual does not say which warp reads
/// which rows of a: each may read all of them.
///
/// # Errors
/// As [`product`].
pub(crate) fn product_reads(
    warp: &Warp,
    shared: &[u8],
    product: &Product,
    mut read: impl FnMut(u32),
) -> Result<(), String> {
    let first = warp.live.trailing_zeros() as usize;
    let mut all = |operand: &Operand, blocks: std::ops::Range<u32>| {
        for (i, j) in blocks.flat_map(|i| (0..2).map(move |j| (i, j))) {
            (0..8).for_each(|r| read(operand.address(i, j, r)));
        }
    };
    if let ProductA::Descriptor(slot) = &product.a {
        let operand = Operand::new(shared, warp.get_wide(*slot)[first], product.a_mn_major, 64, "a")?;
        all(&operand, 0..8);
    }
    let operand = Operand::new(shared, warp.get_wide(product.b)[first], product.b_mn_major, product.n, "b")?;
    all(&operand, 0..product.n / 8);
    Ok(())
}

/// Row and column of d that a lane holds in a register.
fn place(register: usize, lane: usize) -> (usize, usize) {
    let i = register % 4;
    (lane / 4 + 8 * (i / 2), 8 * (register / 4) + 2 * (lane % 4) + i % 2)
}
