//! The geometry of one convolution, shared by the CPU functions and the kernel launches.

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
