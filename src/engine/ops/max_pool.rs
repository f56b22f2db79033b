//! Maximum pooling: with windows of k x k pixels that start at multiples of a stride s, less a padding p,
//!
//! ```text
//! y[i, j, c]  = max over a, b in 0..k of x[i s - p + a, j s - p + b, c]        what lies outside does not compete
//! dx[u, v, c] = sum of dy[i, j, c] over the windows in which (u, v) is the first maximum in row-major order
//! ```

use crate::engine::device::Memory;
use crate::engine::simd;
use crate::engine::tape::geometry::{channels, hwc};
use crate::engine::tape::{Launch, Launches, Op, Tape, op};
use crate::engine::tensor::Tensor;
use rayon::prelude::*;

/// The maximum of every `kernel x kernel` window that lies inside the image, `stride` pixels apart.
///
/// # Shapes
/// `x [n, h, w, c]`, result `[n, (h - kernel) / stride + 1, (w - kernel) / stride + 1, c]`, rounded down. Windows may
/// overlap. A NaN wins its window, but gets no gradient. Saved for backward: `x` and the result.
pub fn max_pool(tape: &mut Tape, x: Tensor, kernel: usize, stride: usize) -> Tensor {
    record(tape, x, Windows { kernel, stride, pad: 0 })
}

/// The maximum of the `3 x 3` window around every pixel, cut off at the edges of the image.
///
/// # Shapes
/// `x` and the result: `[n, h, w, c]`. Saved for backward: `x` and the result.
pub fn max_pool_same(tape: &mut Tape, x: Tensor) -> Tensor {
    record(tape, x, Windows { kernel: 3, stride: 1, pad: 1 })
}

fn record(tape: &mut Tape, x: Tensor, windows: Windows) -> Tensor {
    let Windows { kernel, stride, pad } = windows;
    assert!(x.rank() == 4 && x.dim(1).min(x.dim(2)) + 2 * pad >= kernel, "max_pool of {x:?} with {windows:?}");
    let out = |size: usize| (size + 2 * pad - kernel) / stride + 1;
    let y = tape.tensor(&[x.dim(0), out(x.dim(1)), out(x.dim(2)), x.dim(3)], x.dtype());
    tape.push(MaxPoolFwd { y, x, windows });
    y
}

#[derive(Clone, Copy, Debug)]
struct Windows {
    kernel: usize,
    stride: usize,
    pad: usize,
}

impl Windows {
    /// The pixels of window `i` along an axis of `size` pixels.
    fn pixels(self, i: usize, size: usize) -> std::ops::Range<usize> {
        let first = i * self.stride;
        first.saturating_sub(self.pad)..(first + self.kernel - self.pad).min(size)
    }

    /// The windows, of `count`, that pixel `u` lies in.
    fn of_pixel(self, u: usize, count: usize) -> std::ops::Range<usize> {
        let last = (u + self.pad) / self.stride + 1;
        (u + self.pad + 1).saturating_sub(self.kernel).div_ceil(self.stride)..last.min(count)
    }
}

/// Adds the arguments of both kernels after the operands.
fn launch(launch: &mut Launch, x: Tensor, y: Tensor, Windows { kernel, stride, pad }: Windows) {
    launch.with(hwc(x)).with([y.dim(1), y.dim(2), kernel, stride, pad]);
}

op! {
    struct MaxPoolFwd = "max_pool_fwd" {
        out y,  // [n, out_h, out_w, c]
        in x,   // [n, h, w, c]
        windows: Windows,
    }
}

impl Op for MaxPoolFwd {
    fn backward(&self, tape: &mut Tape) {
        let MaxPoolFwd { y, x, windows } = *self;
        let dx = tape.grad_slot(x);
        tape.push(MaxPoolBwd { dx, dy: tape.grad(y), x, y, windows });
        tape.accumulate(x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        forward_cpu(y, x, hwc(self.x), hwc(self.y), self.windows);
    }
    fn launch(&self, q: &mut Launches) {
        launch(q.kernel_of(self, self.y.dtype()).grid(channels(self.y)), self.x, self.y, self.windows);
    }
}

op! {
    struct MaxPoolBwd = "max_pool_bwd" {
        out dx,  // [n, h, w, c]
        in dy,   // [n, out_h, out_w, c]
        in x,    // [n, h, w, c]
        in y,    // [n, out_h, out_w, c]
        windows: Windows,
    }
}

impl Op for MaxPoolBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, x, y]) = mem.views([self.dx], [self.dy, self.x, self.y]);
        backward_cpu(dx, [dy, x, y], hwc(self.x), hwc(self.y), self.windows);
    }
    fn launch(&self, q: &mut Launches) {
        launch(q.kernel_of(self, self.dx.dtype()).grid(channels(self.dx)), self.x, self.y, self.windows);
    }
}

/// `y [n, out_h, out_w, c]` of `x [n, h, w, c]`, a row of y at a time.
fn forward_cpu(y: &mut [f32], x: &[f32], [h, w, c]: [usize; 3], [out_h, out_w, _]: [usize; 3], windows: Windows) {
    y.par_chunks_mut(out_w * c).enumerate().for_each(|(row, y)| {
        let (image, i) = (row / out_h, row % out_h);
        simd::vectorized!(|| {
            for (j, y) in y.chunks_exact_mut(c).enumerate() {
                y.fill(f32::NEG_INFINITY);
                for u in windows.pixels(i, h) {
                    for v in windows.pixels(j, w) {
                        let x = &x[((image * h + u) * w + v) * c..][..c];
                        for (y, &x) in y.iter_mut().zip(x) {
                            *y = if x > *y || x.is_nan() { x } else { *y };
                        }
                    }
                }
            }
        });
    });
}

/// `dx [n, h, w, c]`, a row at a time: every pixel asks the windows that it lies in whether it is their first maximum.
fn backward_cpu(
    dx: &mut [f32],
    [dy, x, y]: [&[f32]; 3],
    [h, w, c]: [usize; 3],
    [out_h, out_w, _]: [usize; 3],
    windows: Windows,
) {
    /// Channels that are looked at together.
    const LANES: usize = 16;
    dx.par_chunks_mut(w * c).enumerate().for_each(|(row, dx)| {
        let (image, u) = (row / h, row % h);
        let pixel = |u: usize, v: usize| &x[((image * h + u) * w + v) * c..][..c];
        simd::vectorized!(|| {
            for (v, dx) in dx.chunks_exact_mut(c).enumerate() {
                dx.fill(0.0);
                for i in windows.of_pixel(u, out_h) {
                    for j in windows.of_pixel(v, out_w) {
                        let at = ((image * out_h + i) * out_w + j) * c;
                        let (dy, y) = (&dy[at..][..c], &y[at..][..c]);
                        let columns = windows.pixels(j, w);
                        for first in (0..c).step_by(LANES) {
                            let channels = first..c.min(first + LANES);
                            let (dy, y) = (&dy[channels.clone()], &y[channels.clone()]);
                            let mut won = [0.0; LANES];
                            for ((won, x), (dy, y)) in
                                won.iter_mut().zip(&pixel(u, v)[channels.clone()]).zip(dy.iter().zip(y))
                            {
                                *won = if x == y { *dy } else { 0.0 };
                            }
                            for a in windows.pixels(i, h).start..=u {
                                for b in columns.start..if a == u { v } else { columns.end } {
                                    for ((won, x), y) in won.iter_mut().zip(&pixel(a, b)[channels.clone()]).zip(y) {
                                        *won = if x == y { 0.0 } else { *won };
                                    }
                                }
                            }
                            dx[channels].iter_mut().zip(won).for_each(|(dx, won)| *dx += won);
                        }
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::check::{Check, Input, images};

    fn oracle(x: &[f64], [n, h, w, c]: [usize; 4], windows: Windows) -> Vec<f64> {
        let Windows { kernel, stride, pad } = windows;
        let out = |size: usize| (size + 2 * pad - kernel) / stride + 1;
        images([n, out(h), out(w), c], |image, i, j, k| {
            let inside = |&(u, v): &(usize, usize)| (pad..pad + h).contains(&u) && (pad..pad + w).contains(&v);
            let window = (0..kernel * kernel).map(|t| (i * stride + t / kernel, j * stride + t % kernel));
            let values = window.filter(inside).map(|(u, v)| x[((image * h + u - pad) * w + v - pad) * c + k]);
            values.fold(f64::NEG_INFINITY, f64::max)
        })
    }

    /// Values of which no two of a window are equal, in bf16 either: at a tie differences mean nothing.
    fn without_ties(dims: &[usize]) -> Input {
        Input::activation(dims).filled(|i| (i * 89 % 251) as f32 / 64.0 - 2.0)
    }

    #[test]
    fn matches_the_oracle() {
        for dims in [[1, 6, 4, 3], [3, 5, 8, 35], [2, 8, 9, 32]] {
            for (kernel, stride) in [(2, 2), (3, 2), (3, 1), (2, 3)] {
                Check::default().run(
                    &[without_ties(&dims)],
                    |tape, x| max_pool(tape, x[0], kernel, stride),
                    |x| oracle(&x[0], dims, Windows { kernel, stride, pad: 0 }),
                );
            }
        }
    }

    #[test]
    fn around_every_pixel_matches_the_oracle() {
        for dims in [[1, 1, 1, 3], [2, 5, 8, 35], [1, 8, 2, 32]] {
            Check::default().run(
                &[without_ties(&dims)],
                |tape, x| max_pool_same(tape, x[0]),
                |x| oracle(&x[0], dims, Windows { kernel: 3, stride: 1, pad: 1 }),
            );
        }
    }

    /// Rounded to bf16, ties are common.
    #[test]
    fn a_tie_goes_to_the_first_maximum() {
        let x = [[1.0, 3.0, 3.0], [3.0, 2.0, 3.0], [3.0, 3.0, 3.0]].concat();
        let mut dx = [f32::NAN; 9];
        let windows = Windows { kernel: 2, stride: 1, pad: 0 };
        backward_cpu(&mut dx, [&[1.0, 10.0, 100.0, 1000.0], &x, &[3.0; 4]], [3, 3, 1], [2, 2, 1], windows);
        assert_eq!(dx, [0.0, 11.0, 0.0, 100.0, 0.0, 1000.0, 0.0, 0.0, 0.0]);
    }
}
