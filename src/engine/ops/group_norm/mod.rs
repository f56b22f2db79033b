//! Group normalisation (Wu and He 2018), alone or with what stands around it in a residual block: a bias of every image
//! and channel before it, or a scale and a shift of each after it, then SiLU and dropout.
//!
//! The channels of an image are cut into `groups`; over the pixels and channels of a group
//!
//! ```text
//! xb = x + b[image, c]            xhat = (xb - mean) * rstd      rstd = 1 / sqrt(variance + eps)
//! z = gamma_c * xhat + beta_c     y = mask act(z) / (1 - p)      act(z) = z   or   z s(z),   s the logistic function
//! ```
//!
//! and, with `dz = act'(z) mask dy / (1 - p)`, `act'(z) = 1` or `s(z) (1 + z (1 - s(z)))`, and `m()` the mean over a group,
//!
//! ```text
//! dbeta_c = sum dz      dgamma_c = sum dz xhat                    over images and pixels
//! dx = rstd (gamma dz - m(gamma dz) - xhat m(gamma dz xhat))      db = sum dx over pixels
//! ```
//!
//! A scale `s[image, c]` and a shift `t[image, c]` make `z = (gamma_c * xhat + beta_c) (1 + s) + t`: the norm has another
//! gamma and beta for every image, `gamma (1 + s)` and `beta (1 + s) + t`. The sums over pixels are those above, then
//!
//! ```text
//! dt = sum dz      ds = gamma (sum dz xhat) + beta (sum dz)       over pixels
//! ```
//! and dbeta and dgamma are the sums over images of `(1 + s) sum dz` and `(1 + s) sum dz xhat`.
//!
//! All sums are first taken per image and channel. The variance is a sum of squares around a pivot, the value of the
//! channel in the middle pixel, so that a large mean does not cancel it away. In a channel of an image the bias is a
//! constant: it joins the mean, `x - (mean - b)`, and no loop over pixels knows of it.

mod cpu;
mod per_image;
mod shape;
mod slabs;

use crate::engine::device::Memory;
use crate::engine::ops::concat::Joined;
use crate::engine::ops::dropout::DropoutLayer;
use crate::engine::tape::{Arg, Backend, Launches, Op, Operand, Tape, op};
use crate::engine::tensor::{DType, Tensor};
pub use per_image::PerImage;
use shape::Shape;
use slabs::Slabs;
use std::ops::Range;

/// How to normalise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Groups of channels; they divide the channels.
    pub groups: usize,
    /// Is added to the variance.
    pub eps: f32,
    /// True if SiLU follows.
    pub silu: bool,
}

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
    group_norm_with(tape, x, gamma, beta, Norm { groups, eps, silu }, PerImage::Nothing, None)
}

/// [`group_norm`] with what each image brings, followed by dropout. With a bias it is what
/// [`channel_bias`](super::channel_bias::channel_bias), the norm and [`dropout`](super::dropout::dropout) compute one after
/// the other, in one pass: the bias is added in f32; the mask is that of the separate op, bit for bit. A scale and a shift
/// follow the norm, before SiLU. `x` may be two tensors [joined](super::concat::join), of which [`reads_joined`] says
/// whether it can; then nothing is dropped, and there are no scales.
///
/// # Shapes
/// `x` and the result `[n, .., c]`, `gamma` and `beta` `[c]` (f32), `c` a multiple of the groups; the columns of
/// [`PerImage`] from its `[n, columns]`. Saved for backward: `x`, means and reciprocal standard deviations of the groups,
/// and with a bias how far the mean of each channel lies from its group's.
pub fn group_norm_with(
    tape: &mut Tape,
    x: impl Into<Joined>,
    gamma: Tensor,
    beta: Tensor,
    norm: Norm,
    per_image: impl Into<PerImage>,
    dropout: Option<DropoutLayer>,
) -> Tensor {
    let (of, per_image) = (x.into(), per_image.into());
    let (x, Norm { groups, eps, silu }) = (of.whole, norm);
    let (n, c) = (x.dim(0), x.last_dim());
    assert!(groups > 0 && c % groups == 0, "group_norm: {c} channels do not form {groups} groups");
    assert!(gamma.numel() == c && beta.numel() == c, "group_norm: {c} channels, gamma {gamma:?}, beta {beta:?}");
    assert!(per_image.fits(x), "group_norm: {per_image:?} for {x:?}");
    let dropout = dropout.unwrap_or(DropoutLayer::NONE);
    assert!(dropout.is_valid(), "group_norm: {dropout:?}");
    let can_read =
        !of.is_pair() || !dropout.is_some() && !per_image.is_scale_shift() && reads_joined(tape, of.first, of.second);
    assert!(can_read, "group_norm: {of:?}, {per_image:?}, {dropout:?}");
    let shape = Shape { n, pixels: x.numel() / (n * c), c, groups, silu };
    let y = tape.tensor(&x.dims(), x.dtype());
    let stats = tape.tensor(&[n, shape.stats_width(per_image.is_bias())], DType::F32);
    tape.push(GroupNormFwd { y, stats, of: Operands { x: of, per_image, gamma, beta, dropout, shape }, eps });
    y
}

/// Returns true if the norm can read `a` and `b` [joined](super::concat::join): kernels can, if the first channels of `b`
/// begin a vector.
pub fn reads_joined(tape: &Tape, a: Tensor, b: Tensor) -> bool {
    tape.backend() != Backend::Cpu && a.dtype() == b.dtype() && (a.last_dim() * a.dtype().bytes()).is_multiple_of(16)
}

/// Operands that both passes read.
#[derive(Clone, Copy, Debug)]
struct Operands {
    x: Joined,
    per_image: PerImage,
    gamma: Tensor,
    beta: Tensor,
    dropout: DropoutLayer,
    shape: Shape,
}

impl Operands {
    /// In the kernels' order.
    fn list(&self) -> [Tensor; 6] {
        [self.x.first, self.x.second, self.per_image.values(), self.gamma, self.beta, self.dropout.rng]
    }

    fn image_columns(&self) -> Range<usize> {
        self.per_image.columns(self.shape.c)
    }

    /// Columns of what each image brings, or of its gradient, that belong to this layer.
    fn columns(&self, operand: Tensor, dimage: Tensor) -> Option<Range<usize>> {
        let is_per_image = operand.place == self.per_image.values().place || operand.place == dimage.place;
        (is_per_image && !operand.is_empty()).then(|| self.image_columns())
    }

    /// Dimensions of both kernels.
    fn dims(&self, slabs: &Slabs) -> [usize; 7] {
        let Shape { pixels, c, groups, .. } = self.shape;
        [pixels, c, self.x.split(), groups, slabs.groups, self.per_image.width(), self.per_image.first()]
    }

    /// Last arguments of both kernels: activation and dropout.
    fn after(&self) -> [Arg; 2] {
        [i32::from(self.shape.silu).into(), self.dropout.argument()]
    }

    /// The kernel of a pass, which is another one where there is dropout, where images have scales, or where `x` is two
    /// tensors.
    fn kernel(&self, pass: Pass) -> &'static str {
        match (self.per_image.is_scale_shift(), self.dropout.is_some(), self.x.is_pair()) {
            (false, false, false) => pass.plain,
            (false, false, true) => pass.joined,
            (false, true, _) => pass.dropout,
            (true, false, _) => pass.scale_shift,
            (true, true, _) => pass.scale_shift_dropout,
        }
    }

    /// Views of [`Operands::list`] on the CPU, where `x` is one tensor.
    fn on_cpu<'a>(&self, [x, _, values, gamma, beta, rng]: [&'a [f32]; 6]) -> cpu::Inputs<'a> {
        cpu::Inputs { x, per_image: self.per_image, values, gamma, beta, mask: self.dropout.mask(rng) }
    }
}

impl Operand for Operands {
    fn tensors(&self) -> Vec<Tensor> {
        self.list().to_vec()
    }
}

/// Kernels of a pass.
struct Pass {
    plain: &'static str,
    joined: &'static str,
    dropout: &'static str,
    scale_shift: &'static str,
    scale_shift_dropout: &'static str,
}

const FORWARD: Pass = Pass {
    plain: "group_norm_fwd",
    joined: "group_norm_joined_fwd",
    dropout: "group_norm_dropout_fwd",
    scale_shift: "group_norm_scale_shift_fwd",
    scale_shift_dropout: "group_norm_scale_shift_dropout_fwd",
};
const BACKWARD: Pass = Pass {
    plain: "group_norm_bwd",
    joined: "group_norm_joined_bwd",
    dropout: "group_norm_dropout_bwd",
    scale_shift: "group_norm_scale_shift_bwd",
    scale_shift_dropout: "group_norm_scale_shift_dropout_bwd",
};

op! {
    struct GroupNormFwd = "group_norm_fwd" {
        out y,             // [n, .., c]
        out stats,         // [n, 2 groups], with a bias [n, 2 groups + c], f32
        in of: Operands,
        eps: f32,
    }
}

impl Op for GroupNormFwd {
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        self.of.columns(operand, Tensor::EMPTY)
    }
    fn backward(&self, tape: &mut Tape) {
        let Operands { x, per_image, gamma, beta, shape, .. } = self.of;
        let dy = tape.grad(self.y);
        let (wanted, earlier) = if x.is_pair() {
            let (wanted, [earlier]) = x.grad_sum(tape);
            (wanted, [earlier, Tensor::EMPTY])
        } else {
            x.grad_sum(tape)
        };
        let mut written = |x: Tensor, dx: Tensor| {
            let is_wanted = x.is_empty() || !dx.is_empty();
            if is_wanted { dx } else { tape.tensor(&x.dims(), x.dtype()) }
        };
        let dx = [written(x.first, wanted[0]), written(x.second, wanted[1])];
        let dimage = tape.grad_columns(per_image.values(), self.of.image_columns());
        let (dgamma, dbeta) = (tape.grad_slot(gamma), tape.grad_slot(beta));
        let (channel_sums, counters) = if dgamma.is_empty() && dbeta.is_empty() {
            (Tensor::EMPTY, Tensor::EMPTY)
        } else {
            let slabs = Slabs::new(shape, dy.dtype());
            (tape.scratch(&[shape.n, shape.c, 2], DType::F32), tape.counters(slabs.count))
        };
        let (stats, of) = (self.stats, self.of);
        tape.push(GroupNormBwd { dx, dimage, dgamma, dbeta, channel_sums, counters, dy, stats, of, earlier });
        x.set_grad(tape, wanted);
        tape.accumulate(gamma, dgamma);
        tape.accumulate(beta, dbeta);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y, stats], inputs) = mem.views([self.y, self.stats], self.of.list());
        cpu::forward(y, stats, self.of.on_cpu(inputs), self.of.shape, self.eps);
    }
    fn launch(&self, q: &mut Launches) {
        let (dtype, kernel) = (self.y.dtype(), self.of.kernel(FORWARD));
        let slabs = Slabs::new(self.of.shape, dtype);
        let launch = slabs.launch(q.kernel(kernel, dtype), self.of.shape.n).operands(self);
        launch.with(self.of.dims(&slabs)).with([self.eps]).with(self.of.after());
    }
}

op! {
    struct GroupNormBwd = "group_norm_bwd" {
        out dx: [Tensor; 2],      // as x, one tensor or two
        out dimage,               // [n, columns], the gradient of what each image brings; may be absent
        out dgamma,               // [c] f32; may be absent
        out dbeta,                // [c] f32; may be absent
        inout channel_sums,       // [n, c, 2] f32: the sums over the pixels of an image, by kernels
        inout counters,           // one for each slab of channels: its blocks, of all images, count themselves
        in dy,                    // [n, .., c]
        in of: Operands,
        in stats,                 // as the forward pass writes them
        /// Gradients of all of x that have arrived before, which are added to dx; either may be absent.
        in earlier: [Tensor; 2],
    }
}

impl Op for GroupNormBwd {
    fn columns(&self, operand: Tensor) -> Option<Range<usize>> {
        self.of.columns(operand, self.dimage)
    }
    fn cpu(&self, mem: &mut Memory) {
        let [x, none, values, gamma, beta, rng] = self.of.list();
        let [first, second] = self.earlier;
        let ([dx, dimage, dgamma, dbeta], [dy, x, none, values, gamma, beta, rng, stats, first, second]) = mem.views(
            [self.dx[0], self.dimage, self.dgamma, self.dbeta],
            [self.dy, x, none, values, gamma, beta, rng, self.stats, first, second],
        );
        let gradients = cpu::Gradients { dx, dimage, dgamma, dbeta };
        let inputs = self.of.on_cpu([x, none, values, gamma, beta, rng]);
        cpu::backward(gradients, dy, inputs, stats, [first, second], self.of.shape);
    }
    fn launch(&self, q: &mut Launches) {
        let (dtype, kernel) = (self.dy.dtype(), self.of.kernel(BACKWARD));
        let slabs = Slabs::new(self.of.shape, dtype);
        let n = self.of.shape.n;
        let launch = slabs.launch(q.kernel(kernel, dtype), n).operands(self);
        launch.with([n]).with(self.of.dims(&slabs)).with(self.of.after());
    }
}

#[cfg(test)]
mod tests;
