//! Values that each image brings to a norm: of every channel a bias, or a scale and a shift.

use super::shape::Shape;
use crate::engine::ops::channel_bias::ImageBias;
use crate::engine::tape::Operand;
use crate::engine::tensor::Tensor;
use std::ops::Range;

/// Values of every image and channel that enter a norm, `[n, columns]` in the activations' type.
#[derive(Clone, Copy, Debug)]
pub enum PerImage {
    /// None.
    Nothing,
    /// A bias b before the norm: c columns.
    Bias(ImageBias),
    /// A scale s and a shift t after it, `(1 + s) z + t`: c columns of scales, then c of shifts.
    ScaleShift(ImageBias),
}

impl PerImage {
    pub(super) fn is_bias(&self) -> bool {
        matches!(self, PerImage::Bias(_))
    }

    pub(super) fn is_scale_shift(&self) -> bool {
        matches!(self, PerImage::ScaleShift(_))
    }

    fn place(&self) -> ImageBias {
        match *self {
            PerImage::Nothing => ImageBias::NONE,
            PerImage::Bias(place) | PerImage::ScaleShift(place) => place,
        }
    }

    /// The values; empty where there are none.
    pub(super) fn values(&self) -> Tensor {
        self.place().values
    }

    /// Column of the layer's first channel.
    pub(super) fn first(&self) -> usize {
        self.place().first
    }

    /// Columns of all layers.
    pub(super) fn width(&self) -> usize {
        self.place().width()
    }

    /// Columns of the layer with `c` channels.
    pub(super) fn columns(&self, c: usize) -> Range<usize> {
        self.place().columns(if self.is_scale_shift() { 2 * c } else { c })
    }

    /// True if there are values for every image and channel of `x`.
    pub(super) fn fits(&self, x: Tensor) -> bool {
        let values = self.values();
        matches!(self, PerImage::Nothing) || self.place().fits(x) && self.columns(x.last_dim()).end <= values.last_dim()
    }

    /// The layer's columns of one image, of a tensor like the values; nothing where there are none.
    pub(super) fn of<'a>(&self, values: &'a [f32], image: usize, shape: Shape) -> &'a [f32] {
        if values.is_empty() { &[] } else { &values[image * self.width()..][self.columns(shape.c)] }
    }
}

impl From<Option<ImageBias>> for PerImage {
    fn from(bias: Option<ImageBias>) -> PerImage {
        bias.map_or(PerImage::Nothing, PerImage::Bias)
    }
}

impl Operand for PerImage {
    fn tensors(&self) -> Vec<Tensor> {
        vec![self.values()]
    }
}
