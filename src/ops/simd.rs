//! Loops for the CPU implementations: split over all cores at fixed places, so that results do not depend on the
//! number of threads, and compiled for the widest vectors that the processor has.

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
        return vectorised(|| f(outs, ins));
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

/// Runs a loop compiled for the processor's vector extensions.
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// e^x to 2 ulp, in operations that vectorise; arguments beyond +-87 saturate.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer that then sits in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    // ln 2 in two parts, so that the remainder is exact.
    let r = (x - k * 0.693_359_4) + k * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let p = p * (r * r) + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    p * scale
}

/// The logistic function 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_accurate_and_keeps_nan() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let want = (x as f64).exp();
            let err = (super::exp(x) as f64 - want).abs() / want;
            assert!(err <= 3e-7, "exp({x}) is off by {err:e}");
        }
        assert!(super::exp(f32::NAN).is_nan());
    }

    #[test]
    fn chunks_cover_everything_once() {
        let x: Vec<f32> = (0..100_003).map(|i| i as f32).collect();
        let mut y = vec![0.0; x.len()];
        super::for_chunks([&mut y], [&x], |[y], [x]| y.iter_mut().zip(x).for_each(|(y, x)| *y += x + 1.0));
        assert!(y.iter().zip(&x).all(|(y, x)| *y == x + 1.0));
    }
}
