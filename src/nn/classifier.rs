//! Classifiers: small networks that return the logits of an image's classes, and the features that these come from.
//!
//! ```text
//! image -> [3x3 convolution, group norm, SiLU, mean of 2x2 pixels] until it is small -> convolution, norm, SiLU
//!       -> linear, SiLU = features -> linear = logits
//! ```
//! One of noisy samples z_t is told the time: its embedding is a bias before every norm, another for each. Points of the
//! plane are classified by a perceptron.

use super::architecture::{Architecture, Module};
use super::layers::{Conv, Forward, GroupNorm, Linear, Start, TimeProjections};
use super::mlp::MlpConfig;
use super::params::ParamSet;
use super::time_embedding::TimeEmbedding;
use crate::engine::ops::avg_pool::avg_pool;
use crate::engine::ops::channel_bias::ImageBias;
use crate::engine::ops::group_norm::PerImage;
use crate::engine::ops::silu::silu;
use crate::engine::ops::timestep_embedding::Sinusoids;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};

/// Channels of a group of the norms.
const GROUP_CHANNELS: usize = 8;
/// Least height and width of an image.
const LEAST_PIXELS: usize = 4;
/// Layers of the perceptron for points.
const LAYERS_OF_POINTS: usize = 4;

/// The size of a classifier.
#[derive(Clone, Copy, Debug)]
pub struct ClassifierShape {
    /// Height, width and channels of an image; of a point 1, 1 and its coordinates.
    pub dims: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Channels of the first convolution, a multiple of 8; each further one has twice as many.
    pub channels: usize,
    /// Most channels of a convolution.
    pub most_channels: usize,
    /// Number of features of an image; of a point, values between the layers.
    pub features: usize,
    /// Values of the time's embedding; 0: of clean images, which have no time. A point's time is a number as it is.
    pub time_dim: usize,
}

impl ClassifierShape {
    /// True for points of the plane.
    fn is_of_points(&self) -> bool {
        self.dims[..2] == [1, 1]
    }
}

/// The layers of a classifier.
#[derive(Debug)]
pub struct Classifier(Layers);

#[derive(Debug)]
enum Layers {
    Images { time: Option<TimeLayers>, stages: Vec<Stage>, hidden: Linear, head: Linear },
    Points(Box<dyn Module>),
}

/// The embedding of the time, and its projections to all stages.
#[derive(Debug)]
struct TimeLayers {
    embedding: TimeEmbedding,
    projections: Linear,
}

#[derive(Debug)]
struct Stage {
    conv: Conv,
    norm: GroupNorm,
    /// First column of its time projection.
    time: usize,
}

impl Stage {
    fn bias(&self, values: Tensor) -> ImageBias {
        ImageBias { values, first: self.time }
    }
}

impl Classifier {
    /// Registers the layers.
    ///
    /// # Errors
    /// Images below 4x4 pixels, or fewer than two classes.
    pub fn new(params: &mut ParamSet, shape: &ClassifierShape) -> Result<Classifier> {
        let ClassifierShape { dims: [mut h, mut w, mut c], classes, channels, most_channels, features, time_dim } =
            *shape;
        if classes < 2 {
            return Err(Error::Config(format!("a classifier needs two classes at least, not {classes}")));
        }
        if shape.is_of_points() {
            let (layers, width) = (LAYERS_OF_POINTS, features);
            let mlp = MlpConfig { in_channels: c, out_channels: classes, layers, width, time_dim: 0, classes: 0 };
            return Ok(Classifier(Layers::Points(mlp.build(params)?)));
        }
        if h.min(w) < LEAST_PIXELS {
            let message =
                format!("a classifier needs images of at least {LEAST_PIXELS}x{LEAST_PIXELS} pixels, not {h}x{w}");
            return Err(Error::Config(message));
        }
        let (mut projections, mut stages, mut c_out) = (TimeProjections::default(), Vec::new(), channels);
        loop {
            let stage = format!("stages.{}", stages.len());
            let conv = Conv::same3x3(params, &format!("{stage}.conv"), c, c_out, Start::FanIn);
            let norm = GroupNorm::new(params, &format!("{stage}.norm"), c_out, c_out / GROUP_CHANNELS, 1e-5, true);
            stages.push(Stage { conv, norm, time: projections.add(&stage, c_out) });
            (c, c_out) = (c_out, (2 * c_out).min(most_channels));
            if h.min(w) < 2 * LEAST_PIXELS {
                break;
            }
            (h, w) = (h / 2, w / 2);
        }
        let hidden = Linear::new(params, "hidden", h * w * c, features, Start::FanIn);
        let head = Linear::new(params, "head", features, classes, Start::FanIn);
        let time = (time_dim > 0).then(|| TimeLayers {
            embedding: TimeEmbedding::mlp(params, Sinusoids::new(time_dim), time_dim, 0),
            projections: projections.build(params, time_dim),
        });
        Ok(Classifier(Layers::Images { time, stages, hidden, head }))
    }

    /// Features `[n, features]`, of points the logits, and logits `[n, classes]` of `x [n, h, w, c]`, at these times `[n]`
    /// where it is one of noisy samples.
    pub fn forward(&self, cx: &mut Forward, mut x: Tensor, time: Option<Tensor>) -> [Tensor; 2] {
        let n = x.dim(0);
        let (layers, stages, hidden, head) = match &self.0 {
            Layers::Images { time, stages, hidden, head } => (time, stages, hidden, head),
            Layers::Points(mlp) => {
                let logits = mlp.forward(cx, x, time.expect("points are noisy"), None);
                return [logits.reshape(&[n, logits.last_dim()]); 2];
            }
        };
        let times = layers.as_ref().zip(time).map(|(layers, time)| {
            let time = layers.embedding.forward(cx, time, None);
            let time = silu(cx.tape, time);
            layers.projections.forward(cx, time)
        });
        for (i, stage) in stages.iter().enumerate() {
            if i > 0 {
                x = avg_pool(cx.tape, x);
            }
            x = stage.conv.forward(cx, x);
            let per_image = times.map_or(PerImage::Nothing, |values| PerImage::Bias(stage.bias(values)));
            x = stage.norm.forward_with(cx, x, per_image, None);
        }
        let hidden = hidden.forward(cx, x.reshape(&[n, x.numel() / n]));
        let features = silu(cx.tape, hidden);
        [features, head.forward(cx, features)]
    }
}
