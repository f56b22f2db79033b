//! Inception-v3 (Szegedy et al. 2015) up to its last pooling layer, as TensorFlow's network of December 2015 has it: it
//! differs from the published one in that average pooling leaves out the padding, and in that the last block pools
//! maxima. Names are those of torchvision's and pytorch-fid's files.

use crate::Result;
use crate::engine::ops::avg_pool_same::avg_pool_same;
use crate::engine::ops::concat::concat;
use crate::engine::ops::conv2d::{Padding, conv2d};
use crate::engine::ops::global_avg_pool::global_avg_pool;
use crate::engine::ops::max_pool::{max_pool, max_pool_same};
use crate::engine::ops::relu::relu;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use crate::nn::{Init, ParamId, ParamSet, Weights};

pub enum Layer {
    /// Convolution, batch norm (folded into it) and ReLU.
    Conv { weight: ParamId, bias: ParamId, stride: usize, padding: Padding },
    /// Maxima of 3 x 3 windows, two apart.
    MaxPool,
    /// Maxima around every pixel.
    MaxPoolSame,
    /// Means around every pixel.
    AvgPoolSame,
    /// Several sequences on the same input, their outputs concatenated.
    Branches(Vec<Vec<Layer>>),
}

use Layer::{AvgPoolSame, Branches, MaxPool, MaxPoolSame};

/// The layers; the comments have the size of what leaves them, for images of 299 x 299.
pub fn inception_v3(params: &mut ParamSet) -> Vec<Layer> {
    vec![
        valid3x3(params, "Conv2d_1a_3x3", [3, 32], 2),   // 149 x 149 x 32
        valid3x3(params, "Conv2d_2a_3x3", [32, 32], 1),  // 147 x 147 x 32
        same(params, "Conv2d_2b_3x3", [32, 64], [3, 3]), // 147 x 147 x 64
        MaxPool,                                         // 73 x 73 x 64
        same(params, "Conv2d_3b_1x1", [64, 80], [1, 1]), // 73 x 73 x 80
        valid3x3(params, "Conv2d_4a_3x3", [80, 192], 1), // 71 x 71 x 192
        MaxPool,                                         // 35 x 35 x 192
        block_a(params, "Mixed_5b", 192, 32),            // 35 x 35 x 256
        block_a(params, "Mixed_5c", 256, 64),            // 35 x 35 x 288
        block_a(params, "Mixed_5d", 288, 64),            // 35 x 35 x 288
        block_b(params, "Mixed_6a", 288),                // 17 x 17 x 768
        block_c(params, "Mixed_6b", 768, 128),           // 17 x 17 x 768
        block_c(params, "Mixed_6c", 768, 160),           // 17 x 17 x 768
        block_c(params, "Mixed_6d", 768, 160),           // 17 x 17 x 768
        block_c(params, "Mixed_6e", 768, 192),           // 17 x 17 x 768
        block_d(params, "Mixed_7a", 768),                // 8 x 8 x 1280
        block_e(params, "Mixed_7b", 1280, AvgPoolSame),  // 8 x 8 x 2048
        block_e(params, "Mixed_7c", 2048, MaxPoolSame),  // 8 x 8 x 2048
    ]
}

fn block_a(params: &mut ParamSet, name: &str, c: usize, pooled: usize) -> Layer {
    let mut conv = |branch: &str, channels, kernel| same(params, &format!("{name}.{branch}"), channels, kernel);
    Branches(vec![
        vec![conv("branch1x1", [c, 64], [1, 1])],
        vec![conv("branch5x5_1", [c, 48], [1, 1]), conv("branch5x5_2", [48, 64], [5, 5])],
        vec![
            conv("branch3x3dbl_1", [c, 64], [1, 1]),
            conv("branch3x3dbl_2", [64, 96], [3, 3]),
            conv("branch3x3dbl_3", [96, 96], [3, 3]),
        ],
        vec![AvgPoolSame, conv("branch_pool", [c, pooled], [1, 1])],
    ])
}

/// Halves height and width.
fn block_b(params: &mut ParamSet, name: &str, c: usize) -> Layer {
    let branch = |branch: &str| format!("{name}.{branch}");
    Branches(vec![
        vec![valid3x3(params, &branch("branch3x3"), [c, 384], 2)],
        vec![
            same(params, &branch("branch3x3dbl_1"), [c, 64], [1, 1]),
            same(params, &branch("branch3x3dbl_2"), [64, 96], [3, 3]),
            valid3x3(params, &branch("branch3x3dbl_3"), [96, 96], 2),
        ],
        vec![MaxPool],
    ])
}

/// Kernels of 7 x 7 in two steps; `inner` channels lie between them.
fn block_c(params: &mut ParamSet, name: &str, c: usize, inner: usize) -> Layer {
    let mut conv = |branch: &str, channels, kernel| same(params, &format!("{name}.{branch}"), channels, kernel);
    Branches(vec![
        vec![conv("branch1x1", [c, 192], [1, 1])],
        vec![
            conv("branch7x7_1", [c, inner], [1, 1]),
            conv("branch7x7_2", [inner, inner], [1, 7]),
            conv("branch7x7_3", [inner, 192], [7, 1]),
        ],
        vec![
            conv("branch7x7dbl_1", [c, inner], [1, 1]),
            conv("branch7x7dbl_2", [inner, inner], [7, 1]),
            conv("branch7x7dbl_3", [inner, inner], [1, 7]),
            conv("branch7x7dbl_4", [inner, inner], [7, 1]),
            conv("branch7x7dbl_5", [inner, 192], [1, 7]),
        ],
        vec![AvgPoolSame, conv("branch_pool", [c, 192], [1, 1])],
    ])
}

/// Halves height and width.
fn block_d(params: &mut ParamSet, name: &str, c: usize) -> Layer {
    let branch = |branch: &str| format!("{name}.{branch}");
    Branches(vec![
        vec![
            same(params, &branch("branch3x3_1"), [c, 192], [1, 1]),
            valid3x3(params, &branch("branch3x3_2"), [192, 320], 2),
        ],
        vec![
            same(params, &branch("branch7x7x3_1"), [c, 192], [1, 1]),
            same(params, &branch("branch7x7x3_2"), [192, 192], [1, 7]),
            same(params, &branch("branch7x7x3_3"), [192, 192], [7, 1]),
            valid3x3(params, &branch("branch7x7x3_4"), [192, 192], 2),
        ],
        vec![MaxPool],
    ])
}

/// Rows and columns beside each other, where block c has them one after the other.
fn block_e(params: &mut ParamSet, name: &str, c: usize, pool: Layer) -> Layer {
    let mut conv = |branch: &str, channels, kernel| same(params, &format!("{name}.{branch}"), channels, kernel);
    Branches(vec![
        vec![conv("branch1x1", [c, 320], [1, 1])],
        vec![
            conv("branch3x3_1", [c, 384], [1, 1]),
            Branches(vec![
                vec![conv("branch3x3_2a", [384, 384], [1, 3])],
                vec![conv("branch3x3_2b", [384, 384], [3, 1])],
            ]),
        ],
        vec![
            conv("branch3x3dbl_1", [c, 448], [1, 1]),
            conv("branch3x3dbl_2", [448, 384], [3, 3]),
            Branches(vec![
                vec![conv("branch3x3dbl_3a", [384, 384], [1, 3])],
                vec![conv("branch3x3dbl_3b", [384, 384], [3, 1])],
            ]),
        ],
        vec![pool, conv("branch_pool", [c, 192], [1, 1])],
    ])
}

/// A convolution that keeps height and width; its kernel has odd sides.
fn same(params: &mut ParamSet, name: &str, channels: [usize; 2], [kh, kw]: [usize; 2]) -> Layer {
    let (rows, columns) = ((kh - 1) / 2, (kw - 1) / 2);
    let padding = Padding { top: rows, left: columns, bottom: rows, right: columns };
    conv(params, name, channels, [kh, kw], 1, padding)
}

/// A 3 x 3 convolution of the pixels that have all their neighbours.
fn valid3x3(params: &mut ParamSet, name: &str, channels: [usize; 2], stride: usize) -> Layer {
    conv(params, name, channels, [3, 3], stride, Padding::default())
}

fn conv(
    params: &mut ParamSet,
    name: &str,
    [c_in, c_out]: [usize; 2],
    [kh, kw]: [usize; 2],
    stride: usize,
    padding: Padding,
) -> Layer {
    let weight = params.add(format!("{name}{WEIGHT}"), &[c_out, kh, kw, c_in], Init::Constant(0.0));
    let bias = params.add(format!("{name}{BIAS}"), &[c_out], Init::Constant(0.0));
    Layer::Conv { weight, bias, stride, padding }
}

const WEIGHT: &str = ".conv.weight";
const BIAS: &str = ".bn.bias";

/// A parameter with its batch norm folded in. With running mean m, running variance v, gain g and shift b of a channel,
///
/// ```text
/// b + g (conv(x, w) - m) / sqrt(v + eps)  =  conv(x, s w) + (b - s m),        s = g / sqrt(v + eps)
/// ```
///
/// # Errors
/// The error of `get(name, dims)` for a missing or misshapen tensor.
pub fn folded(name: &str, dims: &[usize], get: &impl Fn(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
    const EPS: f64 = 1e-3;
    let values = get(name, dims)?;
    let unit = name.strip_suffix(WEIGHT).or(name.strip_suffix(BIAS)).expect("one of the two that conv() registers");
    let channels = |of: &str| get(&format!("{unit}.bn.{of}"), &dims[..1]);
    let (gain, variance, mean) = (channels("weight")?, channels("running_var")?, channels("running_mean")?);
    let scale = |o: usize| gain[o] as f64 / (variance[o] as f64 + EPS).sqrt();
    let rows = values.chunks_exact(values.len() / dims[0]).enumerate();
    Ok(if name.ends_with(WEIGHT) {
        rows.flat_map(|(o, row)| row.iter().map(move |&w| (scale(o) * w as f64) as f32)).collect()
    } else {
        rows.map(|(o, shift)| (shift[0] as f64 - scale(o) * mean[o] as f64) as f32).collect()
    })
}

/// Records the network: `x [n, h, w, 3]` to `[n, 2048]`.
pub fn record(tape: &mut Tape, weights: &Weights, layers: &[Layer], x: Tensor) -> Tensor {
    let pixels = sequence(tape, weights, layers, x);
    global_avg_pool(tape, pixels)
}

fn sequence(tape: &mut Tape, weights: &Weights, layers: &[Layer], x: Tensor) -> Tensor {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv { weight, bias, stride, padding } => {
            let (w, b) = (weights.tensor(tape, *weight), weights.tensor(tape, *bias));
            let y = conv2d(tape, x, w, b, *stride, *padding);
            relu(tape, y)
        }
        MaxPool => max_pool(tape, x, 3, 2),
        MaxPoolSame => max_pool_same(tape, x),
        AvgPoolSame => avg_pool_same(tape, x),
        Branches(branches) => {
            let parts: Vec<Tensor> = branches.iter().map(|branch| sequence(tape, weights, branch, x)).collect();
            parts.into_iter().reduce(|a, b| concat(tape, a, b)).expect("a block has branches")
        }
    })
}
