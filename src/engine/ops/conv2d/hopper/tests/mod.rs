use super::*;

mod kernels;
mod layers;
mod plans;

fn conv(n: usize, [h, w]: [usize; 2], [c_in, c_out]: [usize; 2], [kh, kw]: [usize; 2], stride: usize) -> Conv2dShape {
    let (pad_top, pad_left) = ((kh - 1) / 2, (kw - 1) / 2);
    Conv2dShape {
        h,
        w,
        kh,
        kw,
        stride,
        pad_top,
        pad_left,
        pad_bottom: kh - 1 - pad_top,
        pad_right: kw - 1 - pad_left,
        ..Conv2dShape::linear(n, c_in, c_out)
    }
}

/// A convolution with 3x3 taps of images of the same height and width.
fn conv3x3(n: usize, size: usize, channels: [usize; 2]) -> Conv2dShape {
    conv(n, [size, size], channels, [3, 3], 1)
}
