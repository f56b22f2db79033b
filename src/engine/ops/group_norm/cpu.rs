//! Group normalisation on the CPU: the images in parallel, each in chunks of whole pixels that stay in the second-level
//! cache from one pass to the next.

use super::per_image::PerImage;
use super::shape::Shape;
use crate::engine::ops::dropout::Mask;
use crate::engine::simd;
use rayon::prelude::*;

/// Inputs that both passes read.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub x: &'a [f32],
    pub per_image: PerImage,
    /// `[n, columns]` of it, or empty.
    pub values: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mask: Option<Mask>,
}

impl<'a> Inputs<'a> {
    /// The bias of an image's channels, or nothing.
    fn bias_of(&self, image: usize, s: Shape) -> &'a [f32] {
        if self.per_image.is_bias() { self.per_image.of(self.values, image, s) } else { &[] }
    }

    /// The scales and the shifts of an image's channels, or nothing.
    fn scales_of(&self, image: usize, s: Shape) -> Option<(&'a [f32], &'a [f32])> {
        self.per_image.is_scale_shift().then(|| self.per_image.of(self.values, image, s).split_at(s.c))
    }

    /// The same with the gamma and beta that the scale and the shift of an image make, which `scratch [2, c]` takes.
    fn of_image(self, image: usize, s: Shape, scratch: &'a mut [f32]) -> Inputs<'a> {
        let Some((scales, shifts)) = self.scales_of(image, s) else { return self };
        let (gamma, beta) = scratch.split_at_mut(s.c);
        for (i, (gamma, beta)) in gamma.iter_mut().zip(beta.iter_mut()).enumerate() {
            *gamma = self.gamma[i] * (1.0 + scales[i]);
            *beta = self.beta[i] * (1.0 + scales[i]) + shifts[i];
        }
        Inputs { gamma, beta, ..self }
    }
}

/// Gradients that the backward pass writes; all but dx may be empty.
pub(super) struct Gradients<'a> {
    pub dx: &'a mut [f32],
    /// `[n, columns]`, of what each image brings.
    pub dimage: &'a mut [f32],
    pub dgamma: &'a mut [f32],
    pub dbeta: &'a mut [f32],
}

/// Elements that one task handles: a few rows of pixels.
const CHUNK: usize = 16 * 1024;
/// Elements that stay in the first-level cache between the norm and dropout.
const PIECE: usize = 1024;

impl Shape {
    /// Elements of a chunk: whole pixels.
    fn chunk(&self) -> usize {
        (CHUNK / self.c).clamp(1, self.pixels) * self.c
    }

    /// Elements of a piece: whole pixels.
    fn piece(&self) -> usize {
        (PIECE / self.c).max(1) * self.c
    }

    /// `sums [2, c]`: for each channel of an image, the totals of a pair of terms over its pixels, taken chunk by chunk.
    /// `add(sums, i, chunk)` adds the terms of the `i`-th chunk.
    fn channel_sums<T: Send>(
        &self,
        sums: &mut [f32],
        chunks: impl IndexedParallelIterator<Item = T>,
        add: impl Fn(&mut [f32], usize, T) + Sync,
    ) {
        simd::scratch(chunks.len() * 2 * self.c, |partial| {
            partial.par_chunks_mut(2 * self.c).zip(chunks).enumerate().for_each(|(i, (partial, chunk))| {
                partial.fill(0.0);
                add(partial, i, chunk);
            });
            sums.fill(0.0);
            for partial in partial.chunks(2 * self.c) {
                sums.iter_mut().zip(partial).for_each(|(s, p)| *s += p);
            }
        });
    }
}

/// `y` and `stats [n, 2 groups (+ c)]`.
pub(super) fn forward(y: &mut [f32], stats: &mut [f32], inputs: Inputs, s: Shape, eps: f32) {
    let stats = stats.par_chunks_mut(s.stats_width(inputs.per_image.is_bias()));
    let images = inputs.x.par_chunks(s.image()).zip(y.par_chunks_mut(s.image())).zip(stats);
    images.enumerate().for_each(|(image, ((x, y), stats))| {
        simd::scratch(6 * s.c, |scratch| {
            let (sums, rest) = scratch.split_at_mut(2 * s.c);
            let (coefficients, affine) = rest.split_at_mut(2 * s.c);
            let inputs = inputs.of_image(image, s, affine);
            let (pivot, bias) = (&x[s.pixels / 2 * s.c..][..s.c], inputs.bias_of(image, s));
            s.channel_sums(sums, x.par_chunks(s.chunk()), |sums, _, x| add_moments(sums, x, pivot));
            finish_stats(stats, sums, pivot, bias, s, eps);
            let (mean, scale) = coefficients.split_at_mut(s.c);
            spread(mean, scale, stats, inputs.gamma, bias, s);
            let write = |y: &mut [f32], x: &[f32]| {
                if s.silu {
                    normalize(y, x, mean, scale, inputs.beta, |z| z * simd::sigmoid(z));
                } else {
                    normalize(y, x, mean, scale, inputs.beta, |z| z);
                }
            };
            let chunks = x.par_chunks(s.chunk()).zip(y.par_chunks_mut(s.chunk())).enumerate();
            chunks.for_each(|(chunk, (x, y))| match inputs.mask {
                None => write(y, x),
                Some(mask) => {
                    let pieces = y.chunks_mut(s.piece()).zip(x.chunks(s.piece())).enumerate();
                    for (piece, (y, x)) in pieces {
                        write(y, x);
                        drop_elements(mask, image, chunk * s.chunk() + piece * s.piece(), y);
                    }
                }
            });
        });
    });
}

/// Drops or scales the elements `first ..` of an image.
fn drop_elements(mask: Mask, image: usize, first: usize, values: &mut [f32]) {
    simd::vectorize(
        #[inline(always)]
        || mask.apply(image as u32, first, values),
    );
}

/// Adds `x - pivot` and its square, per channel. A bias of the channel would move both alike.
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

/// Mean and reciprocal standard deviation of each group from the moments of its channels around their pivots; with a bias
/// also how far the mean of each channel lies from its group's.
fn finish_stats(stats: &mut [f32], sums: &[f32], pivot: &[f32], bias: &[f32], s: Shape, eps: f32) {
    let (width, pixels) = (s.c / s.groups, s.pixels as f64);
    let (sum, squares) = sums.split_at(s.c);
    let (stats, shifts) = stats.split_at_mut(2 * s.groups);
    for (g, stats) in stats.chunks_exact_mut(2).enumerate() {
        let channels = g * width..(g + 1) * width;
        let biased_pivot = |i: usize| pivot[i] as f64 + bias.get(i).map_or(0.0, |&b| b as f64);
        let channel_mean = |i: usize| biased_pivot(i) + sum[i] as f64 / pixels;
        let mean = channels.clone().map(channel_mean).sum::<f64>() / width as f64;
        let total: f64 = channels
            .clone()
            .map(|i| {
                let (sum, shift) = (sum[i] as f64, channel_mean(i) - mean);
                squares[i] as f64 - sum * sum / pixels + pixels * shift * shift
            })
            .sum();
        let variance = total.max(0.0) / (width as f64 * pixels);
        stats[0] = mean as f32;
        stats[1] = (1.0 / (variance + eps as f64).sqrt()) as f32;
        if !bias.is_empty() {
            channels.for_each(|i| shifts[i] = (channel_mean(i) - mean) as f32);
        }
    }
}

/// Per channel: the mean of its group, less the bias, and `rstd * gamma`.
fn spread(mean: &mut [f32], scale: &mut [f32], stats: &[f32], gamma: &[f32], bias: &[f32], s: Shape) {
    let width = s.c / s.groups;
    for (i, ((mean, scale), gamma)) in mean.iter_mut().zip(scale).zip(gamma).enumerate() {
        *mean = stats[i / width * 2];
        *scale = stats[i / width * 2 + 1] * gamma;
    }
    mean.iter_mut().zip(bias).for_each(|(mean, bias)| *mean -= bias);
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

/// To dx are added the contributions of `earlier`, each of which may be empty.
pub(super) fn backward(
    gradients: Gradients,
    dy: &[f32],
    inputs: Inputs,
    stats: &[f32],
    earlier: [&[f32]; 2],
    s: Shape,
) {
    let Gradients { dx, dimage, dgamma, dbeta } = gradients;
    simd::scratch(s.n * 4 * s.c, |image_sums| {
        let images = dx.par_chunks_mut(s.image()).zip(image_sums.par_chunks_mut(4 * s.c)).enumerate();
        images.for_each(|(image, (dx, sums))| backward_image(image, dx, sums, dy, inputs, stats, earlier, s));
        for (total, first) in [(dbeta, 0), (dgamma, s.c)] {
            total.fill(0.0);
            for sums in image_sums.chunks_exact(4 * s.c) {
                total.iter_mut().zip(&sums[first..]).for_each(|(t, v)| *t += v);
            }
        }
        if !dimage.is_empty() {
            let (width, columns) = (dimage.len() / s.n, inputs.per_image.columns(s.c));
            for (dimage, sums) in dimage.chunks_exact_mut(width).zip(image_sums.chunks_exact(4 * s.c)) {
                dimage[columns.clone()].copy_from_slice(&sums[2 * s.c..][..columns.len()]);
            }
        }
    });
}

/// `dx` of one image, and in `sums [4, c]` its contributions to dbeta and dgamma and the gradients of what it brings, a
/// bias or scale and shift. In between `dx` holds `dz`.
#[expect(clippy::too_many_arguments, reason = "one per tensor of the op")]
fn backward_image(
    image: usize,
    dx: &mut [f32],
    sums: &mut [f32],
    dy: &[f32],
    inputs: Inputs,
    stats: &[f32],
    earlier: [&[f32]; 2],
    s: Shape,
) {
    let elements = image * s.image()..(image + 1) * s.image();
    let (x, dy, bias) = (&inputs.x[elements.clone()], &dy[elements.clone()], inputs.bias_of(image, s));
    let earlier = earlier.map(|part| if part.is_empty() { part } else { &part[elements.clone()] });
    let stats_width = s.stats_width(!bias.is_empty());
    let (stats, shifts) = stats[image * stats_width..][..stats_width].split_at(2 * s.groups);
    let (width, count) = (s.c / s.groups, (s.c / s.groups * s.pixels) as f32);
    simd::scratch(6 * s.c, |scratch| {
        let (affine, rest) = scratch.split_at_mut(2 * s.c);
        let Inputs { gamma, beta, mask, .. } = inputs.of_image(image, s, affine);
        let (mean, rest) = rest.split_at_mut(s.c);
        let (scale, rest) = rest.split_at_mut(s.c);
        let (offset, slope) = rest.split_at_mut(s.c);
        spread(mean, scale, stats, gamma, bias, s);
        let add = |dz: &mut [f32], sums: &mut [f32], dy: &[f32], x: &[f32]| {
            if s.silu {
                add_gradients(dz, sums, dy, x, mean, scale, beta, |dy, z| {
                    let s = simd::sigmoid(z);
                    dy * s * (1.0 + z * (1.0 - s))
                });
            } else {
                add_gradients(dz, sums, dy, x, mean, scale, beta, |dy, _| dy);
            }
        };
        let (sums, dimage) = sums.split_at_mut(2 * s.c);
        let chunks = dx.par_chunks_mut(s.chunk()).zip(dy.par_chunks(s.chunk())).zip(x.par_chunks(s.chunk()));
        s.channel_sums(sums, chunks, |sums, chunk, ((dz, dy), x)| match mask {
            None => add(dz, sums, dy, x),
            Some(mask) => simd::scratch(s.piece(), |kept| {
                let pieces = dz.chunks_mut(s.piece()).zip(dy.chunks(s.piece())).zip(x.chunks(s.piece()));
                for (piece, ((dz, dy), x)) in pieces.enumerate() {
                    let kept = &mut kept[..dy.len()];
                    kept.copy_from_slice(dy);
                    drop_elements(mask, image, chunk * s.chunk() + piece * s.piece(), kept);
                    add(dz, sums, kept, x);
                }
            }),
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
        // The sum of dx over the pixels, of which all terms are known: no pass over them.
        for (i, (dbias, shift)) in dimage.iter_mut().zip(shifts).enumerate() {
            *dbias = scale[i] * dbeta[i] - s.pixels as f32 * (offset[i] + slope[i] * shift);
        }
        if let Some((scales, _)) = inputs.scales_of(image, s) {
            let (dscale, dshift) = dimage.split_at_mut(s.c);
            for i in 0..s.c {
                dscale[i] = inputs.gamma[i] * dgamma[i] + inputs.beta[i] * dbeta[i];
                dshift[i] = dbeta[i];
                dbeta[i] *= 1.0 + scales[i];
                dgamma[i] *= 1.0 + scales[i];
            }
        }
        dx.par_chunks_mut(s.chunk()).zip(x.par_chunks(s.chunk())).enumerate().for_each(|(chunk, (dx, x))| {
            finish_dx(dx, x, mean, scale, offset, slope);
            for part in earlier.iter().filter(|part| !part.is_empty()) {
                add_part(dx, &part[chunk * s.chunk()..]);
            }
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

fn add_part(dx: &mut [f32], part: &[f32]) {
    simd::vectorize(
        #[inline(always)]
        || {
            for (dx, part) in dx.iter_mut().zip(part) {
                *dx += part;
            }
        },
    );
}
