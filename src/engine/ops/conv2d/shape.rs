//! The geometry of one convolution, shared by the CPU functions and the kernel launches.

use crate::engine::tensor::DType;

/// A convolution of `x [n, h, w, c_in]` with `w [c_out, kh, kw, c_in]` into `y [n, out_h, out_w, c_out]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Images.
    pub n: usize,
    /// Rows of an input image.
    pub h: usize,
    /// Columns of an input image.
    pub w: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Rows of the kernel.
    pub kh: usize,
    /// Columns of the kernel.
    pub kw: usize,
    /// Input pixels from one output pixel to the next.
    pub stride: usize,
    /// Rows of zeros above the image.
    pub pad_top: usize,
    /// Columns of zeros to its left.
    pub pad_left: usize,
    /// Rows of zeros below it.
    pub pad_bottom: usize,
    /// Columns of zeros to its right.
    pub pad_right: usize,
}

impl Conv2dShape {
    /// A linear layer over `rows` rows is a 1x1 convolution over `rows` images of one pixel.
    pub fn linear(rows: usize, c_in: usize, c_out: usize) -> Self {
        Self {
            n: rows,
            h: 1,
            w: 1,
            c_in,
            c_out,
            kh: 1,
            kw: 1,
            stride: 1,
            pad_top: 0,
            pad_left: 0,
            pad_bottom: 0,
            pad_right: 0,
        }
    }

    /// The dimensions that the kernels take, in their order.
    pub fn dims(&self) -> [usize; 12] {
        let s = self;
        [s.n, s.h, s.w, s.c_in, s.c_out, s.kh, s.kw, s.stride, s.pad_top, s.pad_left, s.out_h(), s.out_w()]
    }

    /// Phases of the input gradient, one for each remainder of (row, column) by the stride: see the kernel.
    pub fn phases(&self) -> usize {
        self.stride * self.stride
    }

    /// Pixels of the largest phase.
    pub fn phase_pixels(&self) -> usize {
        self.n * self.h.div_ceil(self.stride) * self.w.div_ceil(self.stride)
    }

    /// Length of the axis (tap, input channel) as the kernel sees it: each tap padded to whole 16-byte chunks.
    pub fn weight_columns(&self, dtype: DType) -> usize {
        self.kh * self.kw * self.c_in.next_multiple_of(16 / dtype.bytes())
    }

    /// Rows of an output image.
    pub fn out_h(&self) -> usize {
        (self.h + self.pad_top + self.pad_bottom - self.kh) / self.stride + 1
    }

    /// Columns of an output image.
    pub fn out_w(&self) -> usize {
        (self.w + self.pad_left + self.pad_right - self.kw) / self.stride + 1
    }

    /// Output pixels of the whole batch: the rows of the matrix product that a convolution is.
    pub fn out_pixels(&self) -> usize {
        self.n * self.out_h() * self.out_w()
    }

    /// Floating-point operations of the forward pass, of `backward_data` or of `backward_weights`: two per
    /// multiply-add, padding counted as if it were data.
    pub fn flops(&self) -> u64 {
        2 * (self.out_pixels() * self.c_out * self.kh * self.kw * self.c_in) as u64
    }
}
