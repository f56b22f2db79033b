//! Group normalisation (Wu and He 2018), alone or followed by SiLU.
//!
//! The channels of an image are cut into `groups`; over the pixels and channels of a group
//!
//! ```text
//! xhat = (x - mean) * rstd        rstd = 1 / sqrt(variance + eps)
//! z = gamma_c * xhat + beta_c     y = z   or   z s(z),   s the logistic function
//! ```
//!
//! and, with `dz = dy` or `dy s(z) (1 + z (1 - s(z)))`, and `m()` the mean over a group,
//!
//! ```text
//! dbeta_c = sum dz      dgamma_c = sum dz xhat                    over images and pixels
//! dx = rstd (gamma dz - m(gamma dz) - xhat m(gamma dz xhat))
//! ```
//!
//! All sums are first taken per image and channel. The variance is a sum of squares around a pivot, the value of the
//! channel in the middle pixel, so that a large mean does not cancel it away.

use crate::device::Memory;
use crate::ops::simd;
use crate::tape::{Launches, Op, Tape};
use crate::tensor::{DType, Tensor};
use rayon::prelude::*;

/// Group normalisation of `x` with scale `gamma` and shift `beta`, followed by SiLU if `silu`.
///
/// # Shapes
/// `x` and the result `[n, .., c]`, `gamma` and `beta` `[c]` (f32), `c` a multiple of `groups`. Saved for backward: `x`
/// and `[n, groups, 2]` means and reciprocal standard deviations.
pub fn group_norm(
    tape: &mut Tape,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    groups: usize,
    eps: f32,
    silu: bool,
) -> Tensor {
    let (n, c) = (x.dim(0), x.last_dim());
    assert!(groups > 0 && c % groups == 0, "group_norm: {c} channels do not form {groups} groups");
    assert!(gamma.numel() == c && beta.numel() == c, "group_norm: {c} channels, gamma {gamma:?}, beta {beta:?}");
    let y = tape.tensor(&x.dims(), x.dtype());
    let stats = tape.tensor(&[n, groups, 2], DType::F32);
    let shape = Shape { n, pixels: x.numel() / (n * c), c, groups, silu };
    tape.push(GroupNormFwd { y, stats, x, gamma, beta, shape, eps });
    y
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    n: usize,
    pixels: usize,
    c: usize,
    groups: usize,
    silu: bool,
}

#[derive(Debug)]
struct GroupNormFwd {
    y: Tensor,
    stats: Tensor,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    shape: Shape,
    eps: f32,
}

impl Op for GroupNormFwd {
    fn name(&self) -> &'static str {
        "group_norm_fwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.y, self.stats]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.x, self.gamma, self.beta]
    }
    fn backward(&self, tape: &mut Tape) {
        let dy = tape.grad(self.y);
        let wanted = tape.grad_slot(self.x);
        let dx = if wanted.is_empty() { tape.tensor(&self.x.dims(), self.x.dtype()) } else { wanted };
        let (dgamma, dbeta) = (tape.grad_slot(self.gamma), tape.grad_slot(self.beta));
        let channel_sums = tape.scratch(&[self.shape.n, self.shape.c, 2], DType::F32);
        let &GroupNormFwd { stats, x, gamma, beta, shape, .. } = self;
        tape.push(GroupNormBwd { dx, dgamma, dbeta, channel_sums, dy, x, gamma, beta, stats, shape });
        tape.accumulate(x, wanted);
        tape.accumulate(gamma, dgamma);
        tape.accumulate(beta, dbeta);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y, stats], [x, gamma, beta]) = mem.views([self.y, self.stats], [self.x, self.gamma, self.beta]);
        forward_cpu(y, stats, x, gamma, beta, self.shape, self.eps);
    }
    fn launch(&self, q: &mut Launches) {
        let Shape { n, pixels, c, groups, silu } = self.shape;
        let slabs = Slabs::new(self.shape, self.x.dtype());
        q.kernel("group_norm_fwd", self.x.dtype())
            .grid([n * slabs.count, 1, 1])
            .block(slabs.threads)
            .smem(slabs.shared_bytes)
            .args(&[
                self.y.into(),
                self.stats.into(),
                self.x.into(),
                self.gamma.into(),
                self.beta.into(),
                pixels.into(),
                c.into(),
                groups.into(),
                slabs.groups.into(),
                self.eps.into(),
                (silu as i32).into(),
            ]);
    }
}

#[derive(Debug)]
struct GroupNormBwd {
    dx: Tensor,
    dgamma: Tensor,
    dbeta: Tensor,
    channel_sums: Tensor,
    dy: Tensor,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    stats: Tensor,
    shape: Shape,
}

impl Op for GroupNormBwd {
    fn name(&self) -> &'static str {
        "group_norm_bwd"
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![self.dx, self.dgamma, self.dbeta, self.channel_sums]
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.dy, self.x, self.gamma, self.beta, self.stats]
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([dx, dgamma, dbeta], [dy, x, gamma, beta, stats]) =
            mem.views([self.dx, self.dgamma, self.dbeta], [self.dy, self.x, self.gamma, self.beta, self.stats]);
        backward_cpu(dx, dgamma, dbeta, dy, x, gamma, beta, stats, self.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let Shape { n, pixels, c, groups, silu } = self.shape;
        let slabs = Slabs::new(self.shape, self.x.dtype());
        q.kernel("group_norm_bwd_dx", self.x.dtype())
            .grid([n * slabs.count, 1, 1])
            .block(slabs.threads)
            .smem(slabs.shared_bytes)
            .args(&[
                self.dx.into(),
                self.channel_sums.into(),
                self.dy.into(),
                self.x.into(),
                self.gamma.into(),
                self.beta.into(),
                self.stats.into(),
                pixels.into(),
                c.into(),
                groups.into(),
                slabs.groups.into(),
                (silu as i32).into(),
            ]);
        if !(self.dgamma.is_empty() && self.dbeta.is_empty()) {
            let args = [self.dgamma.into(), self.dbeta.into(), self.channel_sums.into(), n.into(), c.into()];
            q.kernel_named("group_norm_bwd_dw").grid([c.div_ceil(32), 1, 1]).args(&args);
        }
    }
}

/// Elements that one CPU task handles: a few rows of pixels that stay in the second-level cache between passes.
const CHUNK: usize = 16 * 1024;

impl Shape {
    fn image(&self) -> usize {
        self.pixels * self.c
    }

    /// Elements of a chunk: whole pixels.
    fn chunk(&self) -> usize {
        (CHUNK / self.c).clamp(1, self.pixels) * self.c
    }

    /// `sums [2, c]`: for each channel of an image, the totals of a pair of terms over its pixels, taken chunk by chunk.
    /// `add(sums, i, chunk)` adds the terms of the `i`-th chunk.
    fn channel_sums<T: Send>(
        &self,
        sums: &mut [f32],
        chunks: impl IndexedParallelIterator<Item = T>,
        add: impl Fn(&mut [f32], T) + Sync,
    ) {
        simd::scratch(chunks.len() * 2 * self.c, |partial| {
            partial.par_chunks_mut(2 * self.c).zip(chunks).for_each(|(partial, chunk)| {
                partial.fill(0.0);
                add(partial, chunk);
            });
            sums.fill(0.0);
            for partial in partial.chunks(2 * self.c) {
                sums.iter_mut().zip(partial).for_each(|(s, p)| *s += p);
            }
        });
    }
}

fn forward_cpu(y: &mut [f32], stats: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32], s: Shape, eps: f32) {
    let images = x.par_chunks(s.image()).zip(y.par_chunks_mut(s.image())).zip(stats.par_chunks_mut(2 * s.groups));
    images.for_each(|((x, y), stats)| {
        simd::scratch(4 * s.c, |scratch| {
            let (sums, coefficients) = scratch.split_at_mut(2 * s.c);
            let pivot = &x[s.pixels / 2 * s.c..][..s.c];
            s.channel_sums(sums, x.par_chunks(s.chunk()), |sums, x| add_moments(sums, x, pivot));
            finish_stats(stats, sums, pivot, s, eps);
            let (mean, scale) = coefficients.split_at_mut(s.c);
            spread(mean, scale, stats, gamma, s);
            x.par_chunks(s.chunk()).zip(y.par_chunks_mut(s.chunk())).for_each(|(x, y)| {
                if s.silu {
                    normalize(y, x, mean, scale, beta, |z| z * simd::sigmoid(z));
                } else {
                    normalize(y, x, mean, scale, beta, |z| z);
                }
            });
        });
    });
}

/// Adds `x - pivot` and its square, per channel.
fn add_moments(sums: &mut [f32], x: &[f32], pivot: &[f32]) {
    simd::vectorize(
        #[inline(always)]
        || {
            let c = pivot.len();
            let (sum, squares) = sums.split_at_mut(c);
            for x in x.chunks_exact(c) {
                for (((sum, square), &x), &pivot) in sum.iter_mut().zip(squares.iter_mut()).zip(x).zip(pivot) {
                    let d = x - pivot;
                    *sum += d;
                    *square += d * d;
                }
            }
        },
    );
}

/// Mean and reciprocal standard deviation of each group from the moments of its channels around their pivots.
fn finish_stats(stats: &mut [f32], sums: &[f32], pivot: &[f32], s: Shape, eps: f32) {
    let (width, pixels) = (s.c / s.groups, s.pixels as f64);
    let (sum, squares) = sums.split_at(s.c);
    for (g, stats) in stats.chunks_exact_mut(2).enumerate() {
        let channels = g * width..(g + 1) * width;
        let channel_mean = |i: usize| pivot[i] as f64 + sum[i] as f64 / pixels;
        let mean = channels.clone().map(channel_mean).sum::<f64>() / width as f64;
        let total: f64 = channels
            .map(|i| {
                let (sum, shift) = (sum[i] as f64, channel_mean(i) - mean);
                squares[i] as f64 - sum * sum / pixels + pixels * shift * shift
            })
            .sum();
        let variance = total.max(0.0) / (width as f64 * pixels);
        stats[0] = mean as f32;
        stats[1] = (1.0 / (variance + eps as f64).sqrt()) as f32;
    }
}

/// Per channel: the mean of its group and `rstd * gamma`.
fn spread(mean: &mut [f32], scale: &mut [f32], stats: &[f32], gamma: &[f32], s: Shape) {
    let width = s.c / s.groups;
    for (i, ((mean, scale), gamma)) in mean.iter_mut().zip(scale).zip(gamma).enumerate() {
        *mean = stats[i / width * 2];
        *scale = stats[i / width * 2 + 1] * gamma;
    }
}

#[inline(always)]
fn normalize(y: &mut [f32], x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], activation: impl Fn(f32) -> f32) {
    let c = mean.len();
    simd::vectorize(
        #[inline(always)]
        || {
            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for ((((y, &x), &mean), &scale), &beta) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(beta) {
                    *y = activation((x - mean) * scale + beta);
                }
            }
        },
    );
}

#[expect(clippy::too_many_arguments, reason = "one per tensor of the op")]
fn backward_cpu(
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    dy: &[f32],
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    stats: &[f32],
    s: Shape,
) {
    simd::scratch(s.n * 2 * s.c, |image_sums| {
        let images = dx.par_chunks_mut(s.image()).zip(dy.par_chunks(s.image())).zip(x.par_chunks(s.image()));
        let saved = stats.par_chunks(2 * s.groups).zip(image_sums.par_chunks_mut(2 * s.c));
        images.zip(saved).for_each(|(((dx, dy), x), (stats, sums))| {
            backward_image(dx, sums, dy, x, gamma, beta, stats, s);
        });
        for (total, first) in [(dbeta, 0), (dgamma, s.c)] {
            total.fill(0.0);
            for sums in image_sums.chunks_exact(2 * s.c) {
                total.iter_mut().zip(&sums[first..]).for_each(|(t, v)| *t += v);
            }
        }
    });
}

/// `dx` of one image, and its contributions to dbeta and dgamma in `sums [2, c]`. In between `dx` holds `dz`.
#[expect(clippy::too_many_arguments, reason = "one per tensor of the op")]
fn backward_image(
    dx: &mut [f32],
    sums: &mut [f32],
    dy: &[f32],
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    stats: &[f32],
    s: Shape,
) {
    let (width, count) = (s.c / s.groups, (s.c / s.groups * s.pixels) as f32);
    simd::scratch(4 * s.c, |scratch| {
        let (mean, rest) = scratch.split_at_mut(s.c);
        let (scale, rest) = rest.split_at_mut(s.c);
        let (offset, slope) = rest.split_at_mut(s.c);
        spread(mean, scale, stats, gamma, s);
        let chunks = dx.par_chunks_mut(s.chunk()).zip(dy.par_chunks(s.chunk())).zip(x.par_chunks(s.chunk()));
        s.channel_sums(sums, chunks, |sums, ((dz, dy), x)| {
            if s.silu {
                add_gradients(dz, sums, dy, x, mean, scale, beta, |dy, z| {
                    let s = simd::sigmoid(z);
                    dy * s * (1.0 + z * (1.0 - s))
                });
            } else {
                add_gradients(dz, sums, dy, x, mean, scale, beta, |dy, _| dy);
            }
        });
        let (dbeta, dgamma) = sums.split_at_mut(s.c);
        for (i, dgamma) in dgamma.iter_mut().enumerate() {
            *dgamma *= stats[i / width * 2 + 1];
        }
        for g in 0..s.groups {
            let (channels, rstd) = (g * width..(g + 1) * width, stats[2 * g + 1]);
            let weigh = |d: &[f32]| channels.clone().map(|i| gamma[i] * d[i]).sum::<f32>() / count;
            offset[channels.clone()].fill(rstd * weigh(dbeta));
            slope[channels.clone()].fill(rstd * rstd * weigh(dgamma));
        }
        dx.par_chunks_mut(s.chunk()).zip(x.par_chunks(s.chunk())).for_each(|(dx, x)| {
            finish_dx(dx, x, mean, scale, offset, slope);
        });
    });
}

/// Writes `dz` and adds `dz` and `dz (x - mean)`, per channel.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one per operand of a fused loop")]
fn add_gradients(
    dz: &mut [f32],
    sums: &mut [f32],
    dy: &[f32],
    x: &[f32],
    mean: &[f32],
    scale: &[f32],
    beta: &[f32],
    before_activation: impl Fn(f32, f32) -> f32,
) {
    let c = mean.len();
    simd::vectorize(
        #[inline(always)]
        || {
            let (sum, product) = sums.split_at_mut(c);
            for ((dz, dy), x) in dz.chunks_exact_mut(c).zip(dy.chunks_exact(c)).zip(x.chunks_exact(c)) {
                let rows = dz.iter_mut().zip(dy).zip(x);
                let totals = sum.iter_mut().zip(product.iter_mut());
                let constants = mean.iter().zip(scale).zip(beta);
                for ((((dz, &dy), &x), (sum, product)), ((&mean, &scale), &beta)) in rows.zip(totals).zip(constants) {
                    let centred = x - mean;
                    let value = before_activation(dy, centred * scale + beta);
                    *dz = value;
                    *sum += value;
                    *product += value * centred;
                }
            }
        },
    );
}

/// `dx = scale dz - offset - slope (x - mean)`, in place of `dz`.
fn finish_dx(dx: &mut [f32], x: &[f32], mean: &[f32], scale: &[f32], offset: &[f32], slope: &[f32]) {
    let c = mean.len();
    simd::vectorize(
        #[inline(always)]
        || {
            for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                let constants = mean.iter().zip(scale).zip(offset).zip(slope);
                for ((dx, &x), (((&mean, &scale), &offset), &slope)) in dx.iter_mut().zip(x).zip(constants) {
                    *dx = scale * *dx - offset - slope * (x - mean);
                }
            }
        },
    );
}

/// How an image is shared out among blocks: each takes a slab of whole neighbouring groups.
#[derive(Debug, PartialEq)]
struct Slabs {
    /// Groups in a slab; the last slab may have fewer.
    groups: usize,
    /// Slabs of an image.
    count: usize,
    threads: usize,
    shared_bytes: usize,
}

impl Slabs {
    /// A slab is at least a 32-byte sector wide. While there are enough blocks for a large GPU (two for each of 132
    /// processors), it grows to 64 bytes, and further where an image has too few pixels to give every thread work.
    fn new(shape: Shape, dtype: DType) -> Slabs {
        let Shape { n, pixels, c, groups: all, .. } = shape;
        let bytes = |groups: usize| groups * (c / all) * dtype.bytes();
        let mut groups = 1;
        while groups < all {
            let narrow = bytes(groups) < 32;
            let enough_blocks = n * all / (2 * groups) >= 264;
            let wants_work = bytes(groups) < 64 || bytes(groups) * pixels < 32 * 1024;
            if !(narrow || enough_blocks && wants_work) {
                break;
            }
            groups = (2 * groups).min(all);
        }
        let channels = groups * (c / all);
        let full = 16 / dtype.bytes();
        let vec = if c % full == 0 && channels % full == 0 { full } else { 1 };
        let threads = match pixels * channels / vec {
            1024.. => 512,
            256.. => 256,
            _ => 128,
        };
        // Pairs of floats: per thread and channel of its vector, per channel, per group.
        let shared_bytes = 8 * (threads * vec + channels + groups);
        Slabs { groups, count: all.div_ceil(groups), threads, shared_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Check, Input};

    fn oracle(x: &[Vec<f64>], c: usize, groups: usize, n: usize, eps: f64, silu: bool) -> Vec<f64> {
        let (values, gamma, beta) = (&x[0], &x[1], &x[2]);
        let (pixels, width) = (values.len() / (n * c), c / groups);
        let mut y = vec![0.0; values.len()];
        for image in 0..n {
            for g in 0..groups {
                let at = |i: usize| (image * pixels + i / width) * c + g * width + i % width;
                let count = (pixels * width) as f64;
                let mean = (0..pixels * width).map(|i| values[at(i)]).sum::<f64>() / count;
                let variance = (0..pixels * width).map(|i| (values[at(i)] - mean).powi(2)).sum::<f64>() / count;
                for i in 0..pixels * width {
                    let channel = g * width + i % width;
                    let z = (values[at(i)] - mean) / (variance + eps).sqrt() * gamma[channel] + beta[channel];
                    y[at(i)] = if silu { z / (1.0 + (-z).exp()) } else { z };
                }
            }
        }
        y
    }

    fn check(dims: [usize; 4], groups: usize, silu: bool) {
        let (n, c) = (dims[0], dims[3]);
        let inputs = [Input::activation(&dims), Input::parameter(&[c]), Input::parameter(&[c])];
        Check::default().run(
            &inputs,
            |tape, x| group_norm(tape, x[0], x[1], x[2], groups, 1e-5, silu),
            |x| oracle(x, c, groups, n, 1e-5, silu),
        );
    }

    #[test]
    fn alone_matches_the_oracle() {
        check([1, 5, 7, 3], 1, false);
        check([3, 5, 7, 64], 32, false);
        check([2, 3, 5, 35], 5, false);
    }

    #[test]
    fn with_silu_matches_the_oracle() {
        check([3, 5, 7, 32], 32, true);
        check([1, 7, 5, 33], 3, true);
        check([2, 4, 4, 128], 32, true);
        check([3, 2, 3, 40], 1, true);
        check([1, 16, 16, 16], 2, true);
        check([2, 1, 1, 512], 4, true);
    }

    #[test]
    fn a_large_mean_does_not_cancel_the_variance() {
        let shape = Shape { n: 1, pixels: 1024, c: 8, groups: 2, silu: false };
        let x: Vec<f32> = (0..shape.image()).map(|i| 1000.0 + ((i * 37) % 101) as f32 / 101.0).collect();
        let exact: Vec<f64> = x.iter().map(|&v| v as f64).collect();
        let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; 4]);
        forward_cpu(&mut y, &mut stats, &x, &[1.0; 8], &[0.0; 8], shape, 1e-6);
        let want = oracle(&[exact, vec![1.0; 8], vec![0.0; 8]], 8, 2, 1, 1e-6, false);
        crate::ops::check::compare("normalised", &y, &want, 2e-4);
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let shape = Shape { n: 3, pixels: 35 * 35, c: 33, groups: 3, silu: true };
        let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 500.0 - 1.0;
        let x: Vec<f32> = (0..3 * shape.image()).map(value).collect();
        let dy: Vec<f32> = (0..x.len()).map(|i| value(i + 7)).collect();
        let gamma: Vec<f32> = (0..33).map(value).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut y, mut stats, mut dx) = (vec![0.0; x.len()], vec![0.0; 18], vec![0.0; x.len()]);
                let (mut dgamma, mut dbeta) = (vec![0.0; 33], vec![0.0; 33]);
                forward_cpu(&mut y, &mut stats, &x, &gamma, &gamma, shape, 1e-5);
                backward_cpu(&mut dx, &mut dgamma, &mut dbeta, &dy, &x, &gamma, &gamma, &stats, shape);
                let all = [y, stats, dx, dgamma, dbeta].concat();
                all.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }

    #[test]
    fn slabs_are_wide_enough_and_fill_the_gpu() {
        let slabs = |n, pixels, c, groups, dtype| Slabs::new(Shape { n, pixels, c, groups, silu: true }, dtype);
        let wide = slabs(128, 1024, 128, 32, DType::Bf16);
        assert_eq!((wide.groups, wide.count, wide.threads), (8, 4, 512)); // 64 bytes, 512 blocks
        let narrow = slabs(1, 1024, 128, 32, DType::Bf16);
        assert_eq!((narrow.groups, narrow.count), (4, 8)); // 32 bytes, as many blocks as that allows
        assert_eq!(slabs(2, 15, 33, 3, DType::F32).count, 3);
        assert!(slabs(1, 64, 4096, 1, DType::Bf16).shared_bytes <= 99 * 1024);
    }
}
