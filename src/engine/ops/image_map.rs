//! Ops that map images linearly, each channel by itself, and save nothing: pooling by averages, upsampling. An
//! [`ImageMap`] names the map and its transpose; recording and launches are the same for all.
//!
//! `y[p] = sum over pixels q of a[p, q] x[q]`, `dx[q] = sum over p of a[p, q] dy[p]`.

use crate::engine::device::Memory;
use crate::engine::tape::geometry::{channels, hwc};
use crate::engine::tape::{Launches, Op, Tape, op};
use crate::engine::tensor::Tensor;

/// A linear map of images `x [n, h, w, c]`.
#[derive(Clone, Copy, Debug)]
pub struct ImageMap {
    /// Name of the op and its kernel.
    pub fwd: &'static str,
    /// Name of its gradient and that kernel.
    pub bwd: &'static str,
    /// Threads of the forward kernel own a pixel of x each, and write all that it is copied to. Else they own, as those of
    /// the gradient, what they write.
    pub scatters: bool,
    /// Computes y from x and `[h, w, c]`.
    pub forward_cpu: fn(&mut [f32], &[f32], [usize; 3]),
    /// Computes dx from dy and `[h, w, c]`, the dimensions of x.
    pub backward_cpu: fn(&mut [f32], &[f32], [usize; 3]),
}

impl ImageMap {
    /// Records the map of `x`; the result has the dimensions `dims`.
    pub fn record(self, tape: &mut Tape, x: Tensor, dims: &[usize]) -> Tensor {
        assert_eq!(x.rank(), 4, "{} of {x:?}", self.fwd);
        let y = tape.tensor(dims, x.dtype());
        tape.push(ImageMapFwd { y, x, map: self });
        y
    }
}

op! {
    struct ImageMapFwd = self.map.fwd {
        out y,  // [n, .., c]
        in x,   // [n, h, w, c]
        map: ImageMap,
    }
}

impl Op for ImageMapFwd {
    fn backward(&self, tape: &mut Tape) {
        let dx = tape.grad_slot(self.x);
        tape.push(ImageMapBwd { dx, dy: tape.grad(self.y), map: self.map });
        tape.accumulate(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        (self.map.forward_cpu)(y, x, hwc(self.x));
    }
    fn launch(&self, q: &mut Launches) {
        let owned = if self.map.scatters { self.x } else { self.y };
        q.kernel_of(self, self.y.dtype()).grid(channels(owned)).with(hwc(self.x));
    }
}

op! {
    struct ImageMapBwd = self.map.bwd {
        out dx,  // [n, h, w, c]
        in dy,   // [n, .., c]
        map: ImageMap,
    }
}

impl Op for ImageMapBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy]) = mem.views([self.dx], [self.dy]);
        (self.map.backward_cpu)(dx, dy, hwc(self.dx));
    }
    fn launch(&self, q: &mut Launches) {
        q.kernel_of(self, self.dx.dtype()).grid(channels(self.dx)).with(hwc(self.dx));
    }
}
