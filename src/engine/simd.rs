//! Shared tools of the CPU implementations: loops split over all cores at fixed places, so that results do not depend on
//! the number of threads; run-time dispatch to the widest vector instructions, reusable scratch memory,
//! and the transcendental functions written so that a loop over them vectorises.

use std::cell::RefCell;

use bytemuck::{Pod, Zeroable};

/// Elements that one task handles.
const CHUNK: usize = 16 * 1024;

/// Runs `f` on corresponding chunks of equally long slices, in parallel and vectorised.
pub fn for_chunks<const O: usize, const I: usize>(
    outs: [&mut [f32]; O],
    ins: [&[f32]; I],
    f: impl Fn([&mut [f32]; O], [&[f32]; I]) + Sync,
) {
    let len = outs.first().map_or(0, |o| o.len());
    assert!(outs.iter().all(|o| o.len() == len) && ins.iter().all(|i| i.len() == len), "slices of equal length");
    split(len, outs, ins, &f);
}

fn split<const O: usize, const I: usize>(
    len: usize,
    outs: [&mut [f32]; O],
    ins: [&[f32]; I],
    f: &(impl Fn([&mut [f32]; O], [&[f32]; I]) + Sync),
) {
    if len <= CHUNK {
        return vectorize(
            #[inline(always)]
            || f(outs, ins),
        );
    }
    let middle = (len.div_ceil(CHUNK) / 2) * CHUNK;
    let mut tails: [Option<&mut [f32]>; O] = [const { None }; O];
    let mut tail = tails.iter_mut();
    let heads = outs.map(|out| {
        let (head, rest) = out.split_at_mut(middle);
        *tail.next().expect("one tail per slice") = Some(rest);
        head
    });
    let tails = tails.map(|t| t.expect("filled above"));
    rayon::join(
        || split(middle, heads, ins.map(|i| &i[..middle]), f),
        || split(len - middle, tails, ins.map(|i| &i[middle..]), f),
    );
}

/// Runs `f` compiled for the widest vector instructions of this machine: plain loops inside it are vectorised with AVX2
/// or AVX-512 where they exist. Only what is inlined into it is: mark the closure, and every function and closure that
/// its loops call, `#[inline(always)]`, and write `for` loops, not `for_each`.
#[inline]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// [`vectorize`] of a closure, which it marks for inlining.
macro_rules! vectorized {
    ($work:expr) => {
        $crate::engine::simd::vectorize(
            #[inline(always)]
            $work,
        )
    };
}
pub(crate) use vectorized;

/// Sets or updates every element of `out` by `f`, which gets the elements of `ins` in the same place: in parallel and
/// vectorised.
pub fn map<const I: usize>(out: &mut [f32], ins: [&[f32]; I], f: impl Fn(&mut f32, [f32; I]) + Sync) {
    for_chunks(
        [out],
        ins,
        #[inline(always)]
        |[out], ins| {
            let ins = ins.map(|x| &x[..out.len()]);
            for (i, out) in out.iter_mut().enumerate() {
                f(out, std::array::from_fn(|k| ins[k][i]));
            }
        },
    );
}

/// `sum of a b`. The range is halved at fixed places, so that the order of the additions does not depend on the number
/// of threads; runs of one task are summed in f32 by 32 lanes, everything else in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "slices of equal length");
    if a.len() > CHUNK {
        let middle = (a.len().div_ceil(CHUNK) / 2) * CHUNK;
        let ((a, a_tail), (b, b_tail)) = (a.split_at(middle), b.split_at(middle));
        let (head, tail) = rayon::join(|| dot(a, b), || dot(a_tail, b_tail));
        return head + tail;
    }
    vectorize(
        #[inline(always)]
        || {
            let mut sums = [0.0; 32];
            for (a, b) in a.chunks(32).zip(b.chunks(32)) {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
            sums.iter().map(|&sum: &f32| sum as f64).sum()
        },
    )
}

/// One cache line: scratch memory is aligned to it, so that no vector load straddles two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static IDLE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `f` a scratch slice of `len` floats, aligned to 64 bytes, with arbitrary contents. The memory stays with the
/// thread and is used again: after the first step of a training run nothing is allocated. Calls may nest.
pub fn scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = IDLE.with_borrow_mut(|idle| idle.pop().unwrap_or_default());
    let needed = len.div_ceil(16);
    if lines.len() < needed {
        lines.resize(needed, Line::zeroed());
    }
    let result = f(&mut bytemuck::cast_slice_mut(&mut lines)[..len]);
    IDLE.with_borrow_mut(|idle| idle.push(lines));
    result
}

/// `e^x` within 2 units in the last place; exact at 0, infinite above 88.73, 0 below -104, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: multiples of the first up to 2^14 are exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    // 2^n in two factors: n reaches 128 and -150, where a single one has no normal representation. Nothing overflows, but
    // a check for it, as in debug builds, would keep the loop from being vectorised.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
    y * power(half) * power(n.wrapping_sub(half))
}

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_float64() {
        let xs: Vec<f32> = (0..400_000).map(|i| -87.0 + i as f32 * (175.5 / 400_000.0)).collect();
        let mut ys = vec![0.0; xs.len()];
        vectorize(|| ys.iter_mut().zip(&xs).for_each(|(y, &x)| *y = exp(x)));
        for (&x, &y) in xs.iter().zip(&ys) {
            let exact = (x as f64).exp();
            let ulp = (exact as f32).next_up() as f64 - exact as f32 as f64;
            assert!((y as f64 - exact).abs() <= 2.0 * ulp, "exp({x}) = {y}, exactly {exact}");
        }
    }

    #[test]
    fn exp_and_sigmoid_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-100.0) > 0.0 && exp(-100.0) < 1e-43);
        assert_eq!(sigmoid(200.0), 1.0);
        assert_eq!(sigmoid(-200.0), 0.0);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn scratch_is_aligned_and_nests() {
        scratch(100, |a| {
            a.fill(1.0);
            scratch(1000, |b| b.fill(2.0));
            assert!(a.iter().all(|&v| v == 1.0));
            assert_eq!(a.as_ptr() as usize % 64, 0);
        });
    }

    #[test]
    fn map_reads_and_updates_in_place() {
        let (a, b): (Vec<f32>, Vec<f32>) = (0..40_003).map(|i| (i as f32, 0.5 * i as f32)).unzip();
        let mut y = vec![1.0; a.len()];
        map(&mut y, [&a, &b], |y, [a, b]| *y += a - b);
        assert!(y.iter().enumerate().all(|(i, &y)| y == 1.0 + 0.5 * i as f32));
    }

    #[test]
    fn chunks_cover_everything_once() {
        let x: Vec<f32> = (0..100_003).map(|i| i as f32).collect();
        let mut y = vec![0.0; x.len()];
        for_chunks([&mut y], [&x], |[y], [x]| y.iter_mut().zip(x).for_each(|(y, x)| *y += x + 1.0));
        assert!(y.iter().zip(&x).all(|(y, x)| *y == x + 1.0));
    }
}
