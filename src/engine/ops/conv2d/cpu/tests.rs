use super::*;

/// A reproducible number in [-1, 1) for every index.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            let mut h = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
            ((h ^ (h >> 16)) >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Calls `f(y index, x index, w index)` for every product in the convolution.
fn for_each_product(s: &Conv2dShape, mut f: impl FnMut(usize, usize, usize)) {
    let (oh, ow) = (s.out_h(), s.out_w());
    for n in 0..s.n {
        for (oy, ox) in (0..oh * ow).map(|i| (i / ow, i % ow)) {
            for (ky, kx) in taps(s) {
                let y = (oy * s.stride + ky).wrapping_sub(s.pad_top);
                let x = (ox * s.stride + kx).wrapping_sub(s.pad_left);
                if y >= s.h || x >= s.w {
                    continue;
                }
                for co in 0..s.c_out {
                    for ci in 0..s.c_in {
                        f(
                            ((n * oh + oy) * ow + ox) * s.c_out + co,
                            ((n * s.h + y) * s.w + x) * s.c_in + ci,
                            ((co * s.kh + ky) * s.kw + kx) * s.c_in + ci,
                        );
                    }
                }
            }
        }
    }
}

fn assert_close(what: &str, s: &Conv2dShape, got: &[f32], want: &[f64], depth: usize) {
    // The products are at most 1, so a sum of `depth` of them is about `sqrt(depth) / 3`.
    let tolerance = 1e-6 + 5e-6 * (depth as f64).sqrt();
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        assert!((got as f64 - want).abs() <= tolerance, "{what}[{i}] = {got}, exactly {want}; {s:?}");
    }
}

fn check_against_float64(s: &Conv2dShape) {
    let x = noise(s.n * s.h * s.w * s.c_in, 1);
    let w = noise(s.c_out * s.kh * s.kw * s.c_in, 2);
    let bias = noise(s.c_out, 3);
    let dy = noise(s.out_pixels() * s.c_out, 4);
    let shift = noise(s.c_in, 5);

    let mut y64: Vec<f64> = (0..dy.len()).map(|i| bias[i % s.c_out] as f64).collect();
    let mut dx64: Vec<f64> = (0..x.len()).map(|i| shift[i % s.c_in] as f64).collect();
    let mut dw64 = vec![0.0f64; w.len()];
    for_each_product(s, |iy, ix, iw| {
        y64[iy] += x[ix] as f64 * w[iw] as f64;
        dx64[ix] += dy[iy] as f64 * w[iw] as f64;
        dw64[iw] += dy[iy] as f64 * x[ix] as f64;
    });
    let mut dbias64 = vec![0.0f64; s.c_out];
    dy.iter().enumerate().for_each(|(i, &dy)| dbias64[i % s.c_out] += dy as f64);

    let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    let mut dbias = vec![f32::NAN; s.c_out];
    forward(&mut y, &x, &w, &bias, s);
    backward_data(&mut dx, &dy, &w, &shift, s);
    backward_weights(&mut dw, &dy, &x, s);
    backward_bias(&mut dbias, &dy);
    let taps = s.kh * s.kw;
    assert_close("y", s, &y, &y64, taps * s.c_in);
    assert_close("dx", s, &dx, &dx64, taps * s.c_out);
    assert_close("dw", s, &dw, &dw64, s.out_pixels());
    assert_close("dbias", s, &dbias, &dbias64, s.out_pixels());
}

fn conv3x3(n: usize, h: usize, w: usize, c_in: usize, c_out: usize) -> Conv2dShape {
    Conv2dShape { n, h, w, c_in, c_out, kh: 3, kw: 3, stride: 1, pad_top: 1, pad_left: 1, pad_bottom: 1, pad_right: 1 }
}

#[test]
fn conv3x3_at_many_shapes() {
    for (c_in, c_out) in [(1, 1), (1, 35), (3, 32), (33, 3), (32, 1), (40, 4), (16, 48), (35, 33), (64, 32)] {
        for (n, h, w) in [(1, 1, 1), (1, 4, 4), (3, 5, 7), (2, 16, 16), (1, 12, 20), (3, 7, 13)] {
            check_against_float64(&conv3x3(n, h, w, c_in, c_out));
        }
    }
}

#[test]
fn conv3x3_deep() {
    check_against_float64(&conv3x3(1, 6, 5, 256, 80));
    check_against_float64(&conv3x3(2, 8, 8, 64, 256));
    check_against_float64(&conv3x3(1, 20, 24, 192, 40));
}

#[test]
fn conv3x3_with_other_padding() {
    for (top, left, bottom, right) in [(0, 0, 0, 0), (0, 1, 0, 1), (2, 0, 1, 2), (2, 2, 2, 2)] {
        let s = conv3x3(2, 9, 6, 16, 20);
        check_against_float64(&Conv2dShape { pad_top: top, pad_left: left, pad_bottom: bottom, pad_right: right, ..s });
    }
}

#[test]
fn conv3x3_of_stride_two() {
    for (n, h, w) in [(1, 2, 2), (2, 8, 8), (1, 7, 9), (3, 5, 12), (2, 32, 30)] {
        for (c_in, c_out) in [(3, 1), (32, 32), (33, 35), (48, 16)] {
            let s = Conv2dShape { stride: 2, ..conv3x3(n, h, w, c_in, c_out) };
            check_against_float64(&s);
            check_against_float64(&Conv2dShape { pad_top: 0, pad_left: 0, ..s });
        }
    }
}

#[test]
fn conv1x1_and_linear() {
    for (c_in, c_out) in [(1, 3), (32, 33), (35, 64), (128, 48)] {
        let s = conv3x3(2, 9, 6, c_in, c_out);
        let s = Conv2dShape { kh: 1, kw: 1, pad_top: 0, pad_left: 0, pad_bottom: 0, pad_right: 0, ..s };
        check_against_float64(&s);
        check_against_float64(&Conv2dShape { stride: 2, ..s });
        check_against_float64(&Conv2dShape { h: 20, w: 20, ..s });
        for rows in [1, 4, 13, 400] {
            check_against_float64(&Conv2dShape::linear(rows, c_in, c_out));
        }
    }
}

/// The kernels of other architectures than the U-Net: long ones, large ones, and 4x4 of stride two.
#[test]
fn any_kernel_stride_and_padding() {
    let unpadded = Conv2dShape { pad_top: 0, pad_left: 0, pad_bottom: 0, pad_right: 0, ..conv3x3(2, 9, 14, 3, 20) };
    for (c_in, c_out) in [(3, 20), (32, 3), (33, 35), (48, 64)] {
        let s = Conv2dShape { c_in, c_out, ..unpadded };
        check_against_float64(&Conv2dShape { stride: 2, ..s });
        check_against_float64(&Conv2dShape { kh: 1, kw: 7, pad_left: 3, pad_right: 3, ..s });
        check_against_float64(&Conv2dShape { kh: 7, kw: 1, pad_top: 3, pad_bottom: 3, ..s });
        let padded = conv3x3(2, 9, 14, c_in, c_out);
        check_against_float64(&Conv2dShape { kh: 4, kw: 4, stride: 2, ..padded });
        check_against_float64(&Conv2dShape { kh: 4, kw: 4, stride: 2, h: 20, w: 16, ..padded });
        check_against_float64(&Conv2dShape { kh: 4, kw: 4, h: 4, w: 4, ..unpadded });
        check_against_float64(&Conv2dShape { kh: 5, kw: 5, pad_top: 2, pad_left: 2, pad_bottom: 2, pad_right: 2, ..s });
    }
}

/// The root mean square of the error of a result, relative to that of the result.
fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    let errors: f64 = got.iter().zip(want).map(|(&got, &want)| (got as f64 - want).powi(2)).sum();
    (errors / want.iter().map(|want| want.powi(2)).sum::<f64>()).sqrt()
}

#[test]
fn winograd_is_nearly_as_accurate_as_the_direct_sum() {
    let s = conv3x3(2, 16, 16, 256, 32);
    let (x, w) = (noise(s.n * s.h * s.w * s.c_in, 1), noise(s.c_out * 9 * s.c_in, 2));
    let dy = noise(s.out_pixels() * s.c_out, 3);
    let (mut y64, mut dx64, mut dw64) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    for_each_product(&s, |iy, ix, iw| {
        y64[iy] += x[ix] as f64 * w[iw] as f64;
        dx64[ix] += dy[iy] as f64 * w[iw] as f64;
        dw64[iw] += dy[iy] as f64 * x[ix] as f64;
    });
    let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    forward(&mut y, &x, &w, &[], &s);
    backward_data(&mut dx, &dy, &w, &[], &s);
    backward_weights(&mut dw, &dy, &x, &s);
    let errors = [relative_error(&y, &y64), relative_error(&dx, &dx64), relative_error(&dw, &dw64)];
    assert!(errors.iter().all(|&error| error <= 2e-6), "{errors:?}");
    // Without Winograd, by the same weights as one filter of a 3x4 kernel whose last column is zero.
    let wide = Conv2dShape { kw: 4, pad_right: 2, ..s };
    let w4: Vec<f32> = w.chunks_exact(3 * s.c_in).flat_map(|w| [w, &vec![0.0; s.c_in][..]].concat()).collect();
    forward(&mut y, &x, &w4, &[], &wide);
    let direct = relative_error(&y, &y64);
    assert!(errors[0] <= 2.5 * direct, "{} against {direct}", errors[0]);
}

/// All results of one shape with a given number of threads, as bits.
fn bits(s: &Conv2dShape, threads: usize) -> Vec<u32> {
    let x = noise(s.n * s.h * s.w * s.c_in, 5);
    let w = noise(s.c_out * s.kh * s.kw * s.c_in, 6);
    let dy = noise(s.out_pixels() * s.c_out, 7);
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    let mut dbias = vec![0.0; s.c_out];
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
        forward(&mut y, &x, &w, &dbias, s);
        backward_data(&mut dx, &dy, &w, &[], s);
        backward_weights(&mut dw, &dy, &x, s);
        backward_bias(&mut dbias, &dy);
    });
    [y, dx, dw, dbias].concat().into_iter().map(f32::to_bits).collect()
}

#[test]
fn any_thread_count_gives_the_same_bits() {
    let s = conv3x3(3, 16, 18, 32, 40);
    let steps = conv3x3(2, 24, 20, 128, 96);
    for s in [s, steps, Conv2dShape { stride: 2, ..s }, conv3x3(1, 4, 4, 64, 64), Conv2dShape::linear(7, 100, 30)] {
        let one = bits(&s, 1);
        for threads in [2, 3, 5] {
            assert!(one == bits(&s, threads), "{threads} threads, {s:?}");
        }
    }
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let strided = Conv2dShape { stride: 2, ..conv3x3(40, 8, 8, 35, 70) };
    let pointwise =
        Conv2dShape { kh: 1, kw: 1, pad_top: 0, pad_left: 0, pad_bottom: 0, pad_right: 0, ..conv3x3(9, 7, 7, 48, 64) };
    let linear = Conv2dShape::linear(400, 100, 130);
    let same = [conv3x3(5, 16, 16, 32, 40), conv3x3(9, 16, 16, 144, 96), conv3x3(30, 4, 4, 32, 32)];
    for s in same.into_iter().chain([strided, pointwise, linear]) {
        let (x, w) = (noise(s.n * s.h * s.w * s.c_in, 5), noise(s.c_out * s.kh * s.kw * s.c_in, 6));
        let bias = noise(s.c_out, 7);
        let mut all = vec![0.0; s.out_pixels() * s.c_out];
        forward(&mut all, &x, &w, &bias, &s);
        for n in [1, 3, 4] {
            let part = Conv2dShape { n, ..s };
            let mut y = vec![0.0; part.out_pixels() * s.c_out];
            for (x, all) in x.chunks_exact(x.len() / s.n * n).zip(all.chunks_exact(y.len())) {
                forward(&mut y, x, &w, &bias, &part);
                assert!(y == all, "{n} images of {s:?}");
            }
        }
    }
}
