use crate::ch11_patch::{Layer, source};

/// With x copied into an image that has its zeros, no index needs a condition.
#[test]
fn the_product_is_the_convolution() {
    let layers = [
        Layer { n: 2, h: 5, w: 7, c: 3, taps: 3, stride: 1, pad: 1 },
        Layer { n: 1, h: 8, w: 6, c: 2, taps: 3, stride: 2, pad: 1 },
        Layer { n: 3, h: 4, w: 4, c: 5, taps: 1, stride: 1, pad: 0 },
        Layer { n: 1, h: 9, w: 9, c: 1, taps: 4, stride: 3, pad: 2 },
    ];
    for layer in layers {
        let Layer { n, h, w, c, taps, stride, pad } = layer;
        let x: Vec<i64> = (0..n * h * w * c).map(|i| (i * 37 % 101) as i64 - 50).collect();
        let kernel: Vec<i64> = (0..taps * taps * c).map(|i| (i * 29 % 83) as i64 - 41).collect();
        let (high, wide) = (h + 2 * pad, w + 2 * pad);
        let mut padded = vec![0; n * high * wide * c];
        for (i, value) in x.iter().enumerate() {
            let (image, row, column) = (i / c / w / h, i / c / w % h, i / c % w);
            padded[((image * high + row + pad) * wide + column + pad) * c + i % c] = *value;
        }
        let (rows, columns) = layer.out();
        for m in 0..n * rows * columns {
            let (image, i, j) = (m / columns / rows, m / columns % rows, m % columns);
            let mut want = 0;
            for (tap, weights) in kernel.chunks(c).enumerate() {
                let (row, column) = (i * stride + tap / taps, j * stride + tap % taps);
                let pixel = &padded[((image * high + row) * wide + column) * c..][..c];
                want += pixel.iter().zip(weights).map(|(a, b)| a * b).sum::<i64>();
            }
            let element = |k: usize| source(m, k, &layer).map_or(0, |at| x[at]);
            let got: i64 = (0..kernel.len()).map(|k| element(k) * kernel[k]).sum();
            assert_eq!(got, want, "row {m} of {layer:?}");
        }
    }
}
