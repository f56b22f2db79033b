//! The DDPM U-Net: one network for every layout of [`UNetConfig`].
//!
//! ```text
//! x [n, h, w, c] -> conv_in -> level 0 -> level 1 -> ... -> middle -> ... -> level 1 -> level 0 -> norm, SiLU, conv_out
//!                              |          `------ skips, joined as channels ------'          |
//!                              `-------------------------------------------------------------'
//! ```
//! The time embedding enters every residual block as a bias per image and channel.

use super::attention::AttentionBlock;
use super::config::{Downsample, Layout, UNetConfig, Upsample};
use super::layers::{BlockStyle, Conv, Forward, GroupNorm, Linear, ResBlock, Start, TimeProjections};
use super::params::ParamSet;
use super::time_embedding::{Sinusoids, TimeEmbedding};
use crate::Result;
use crate::engine::ops::concat::{Joined, concat, join};
use crate::engine::ops::conv2d::Padding;
use crate::engine::ops::{avg_pool, silu, upsample};
use crate::engine::tensor::Tensor;

/// One residual block and the attention that may stand after it (or, in a decoder of [`Layout::Paired`], before it).
#[derive(Clone, Debug)]
struct Layer {
    residual: ResBlock,
    attention: Option<AttentionBlock>,
}

/// One encoder or decoder level.
#[derive(Clone, Debug)]
struct Level {
    layers: Vec<Layer>,
    /// To the next level; the last one has none.
    resample: Option<Resample>,
}

#[derive(Clone, Debug)]
enum Resample {
    Conv(Conv),
    AvgPool,
    Nearest,
    NearestConv(Conv),
    BilinearConv(Conv),
}

impl Resample {
    fn forward(&self, cx: &mut Forward, x: Tensor) -> Tensor {
        match self {
            Resample::Conv(conv) => conv.forward(cx, x),
            Resample::AvgPool => avg_pool::avg_pool(cx.tape, x),
            Resample::Nearest => upsample::upsample_nearest(cx.tape, x),
            Resample::NearestConv(conv) => conv.forward_doubled(cx, x),
            Resample::BilinearConv(conv) => {
                let up = upsample::upsample_bilinear(cx.tape, x);
                conv.forward(cx, up)
            }
        }
    }
}

/// A U-Net that predicts, for a noisy image and its time, what the prediction target says (the noise, usually).
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    time_embedding: TimeEmbedding,
    time_projections: Linear,
    conv_in: Conv,
    encoder: Vec<Level>,
    middle: [ResBlock; 2],
    mid_attention: Option<AttentionBlock>,
    /// Deepest level first.
    decoder: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl UNet {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration of which no network exists.
    pub fn new(config: &UNetConfig, params: &mut ParamSet) -> Result<UNet> {
        config.validate()?;
        let c = &config.channels;
        let (levels, paired) = (c.len(), config.layout == Layout::Paired);
        let style = BlockStyle {
            groups: config.groups,
            eps: config.norm_eps,
            dropout: config.dropout,
            dropout_before_norm: paired,
            shortcut: config.shortcut,
        };
        let attends = |level: usize| config.attention_levels.contains(&level);
        let attention = |params: &mut ParamSet, name: &str, channels: usize| {
            AttentionBlock::new(params, name, channels, config.heads(channels), style)
        };

        let sinusoids = |dim| Sinusoids { dim, flip_sin_to_cos: config.flip_sin_to_cos, freq_shift: config.freq_shift };
        let time_embedding = if paired {
            TimeEmbedding::sinusoids(params, sinusoids(config.time_dim()), config.classes)
        } else {
            TimeEmbedding::mlp(params, sinusoids(c[0]), config.time_dim(), config.classes)
        };
        let mut times = TimeProjections::default();
        let conv_in = Conv::same3x3(params, "conv_in", config.in_channels, c[0], Start::FanIn);

        // Channels of the skips, in the order in which the encoder makes them.
        let mut skips = if paired { vec![] } else { vec![c[0]] };
        let mut encoder = Vec::new();
        for level in 0..levels {
            let block = format!("down_blocks.{level}");
            let mut layers = Vec::new();
            for j in 0..config.layers_per_level {
                let c_in = if j == 0 { c[level.saturating_sub(1)] } else { c[level] };
                let residual =
                    ResBlock::new(params, &mut times, &format!("{block}.resnets.{j}"), [c_in, c[level]], style);
                let attention = attends(level).then(|| attention(params, &format!("{block}.attentions.{j}"), c[level]));
                layers.push(Layer { residual, attention });
                skips.push(c[level]);
            }
            let resample = (level + 1 < levels).then(|| {
                skips.push(c[level]);
                let padding = match config.downsample {
                    Downsample::Conv => Padding::same(1),
                    Downsample::ConvAsymmetric => Padding::bottom_right(1),
                    Downsample::AvgPool => return Resample::AvgPool,
                };
                let (name, channels) = (format!("{block}.downsamplers.0.conv"), [c[level]; 2]);
                Resample::Conv(Conv::new(params, &name, channels, 3, 2, padding, Start::FanIn))
            });
            encoder.push(Level { layers, resample });
        }

        let deepest = c[levels - 1];
        let middle0 = ResBlock::new(params, &mut times, "mid_block.resnets.0", [deepest, deepest], style);
        let mid_attention = config.mid_attention.then(|| attention(params, "mid_block.attentions.0", deepest));
        let middle1 = ResBlock::new(params, &mut times, "mid_block.resnets.1", [deepest, deepest], style);

        let mut decoder = Vec::new();
        let mut h = deepest;
        for level in (0..levels).rev() {
            let block = format!("up_blocks.{}", levels - 1 - level);
            let shallower = c[level.saturating_sub(1)];
            let mut layers = Vec::new();
            for j in 0..config.layers_per_level + usize::from(!paired) {
                let last = j + 1 == config.layers_per_level;
                let c_out = if paired && last { shallower } else { c[level] };
                let attention = attends(level)
                    .then(|| attention(params, &format!("{block}.attentions.{j}"), if paired { h } else { c_out }));
                let c_in = h + skips.pop().expect("a skip for every decoder block");
                let residual = ResBlock::new(params, &mut times, &format!("{block}.resnets.{j}"), [c_in, c_out], style);
                layers.push(Layer { residual, attention });
                h = c_out;
            }
            let resample = (level > 0).then(|| {
                let c_in = if paired { h + skips.pop().expect("the downsampled skip") } else { h };
                let name = format!("{block}.upsamplers.0.conv");
                let conv = |params| Conv::same3x3(params, &name, c_in, h, Start::FanIn);
                match config.upsample {
                    Upsample::NearestConv => Resample::NearestConv(conv(params)),
                    Upsample::BilinearConv => Resample::BilinearConv(conv(params)),
                    Upsample::Nearest => Resample::Nearest,
                }
            });
            decoder.push(Level { layers, resample });
        }
        let norm_out = GroupNorm::new(params, "conv_norm_out", c[0], config.groups, config.norm_eps, true);
        let conv_out = Conv::same3x3(params, "conv_out", c[0], config.out_channels, Start::Zero);
        Ok(UNet {
            config: config.clone(),
            time_embedding,
            time_projections: times.build(params, config.time_dim()),
            conv_in,
            encoder,
            middle: [middle0, middle1],
            mid_attention,
            decoder,
            norm_out,
            conv_out,
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Records one evaluation.
    ///
    /// # Shapes
    /// `x [n, h, w, in_channels]` in the tape's storage type with h and w multiples of 2^(levels - 1); `t [n]` f32, the
    /// time as the network is told it (diffusers and the DDPM paper: 0..T-1); `labels [n]` i32 in 0..=classes, where
    /// `classes` is the null label, exactly where the model is conditional. The result is
    /// `[n, h, w, out_channels]`.
    pub fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        self.record(cx, x, t, labels, ResBlock::reads_joined)
    }

    /// [`UNet::forward`] where `reads_joined` says which blocks of the decoder read a skip that is not stored again beside
    /// their input.
    fn record(
        &self,
        cx: &mut Forward,
        x: Tensor,
        t: Tensor,
        labels: Option<Tensor>,
        reads_joined: impl Fn(&ResBlock, &mut Forward, [Tensor; 2]) -> bool,
    ) -> Tensor {
        let paired = self.config.layout == Layout::Paired;
        let time = self.time_embedding.forward(cx, t, labels);
        let time = silu::silu(cx.tape, time);
        let times = self.time_projections.forward(cx, time);

        let mut h = self.conv_in.forward(cx, x);
        let mut skips = if paired { vec![] } else { vec![h] };
        for (i, level) in self.encoder.iter().enumerate() {
            for layer in &level.layers {
                let before = layer.residual.forward(cx, h, times);
                h = layer.attention.as_ref().map_or(before, |a| a.forward(cx, before));
                skips.push(if paired { before } else { h });
            }
            if let Some(down) = &level.resample {
                cx.tape.enter_layer(&format!("down_blocks.{i}.downsamplers.0.resize"));
                h = down.forward(cx, h);
                skips.push(h);
            }
        }

        h = self.middle[0].forward(cx, h, times);
        h = self.mid_attention.as_ref().map_or(h, |a| a.forward(cx, h));
        h = self.middle[1].forward(cx, h, times);

        let mut add_skip = |cx: &mut Forward, block: usize, h, reader: Option<&ResBlock>| -> Joined {
            let skip = skips.pop().expect("a skip");
            let joined = reader.is_some_and(|reader| reads_joined(reader, cx, [h, skip]));
            cx.tape.enter_layer(&format!("up_blocks.{block}.join"));
            if joined { join(cx.tape, h, skip) } else { concat(cx.tape, h, skip).into() }
        };
        for (i, level) in self.decoder.iter().enumerate() {
            for layer in &level.layers {
                match &layer.attention {
                    Some(attention) if paired => h = attention.forward(cx, h),
                    _ => {}
                }
                let x = add_skip(cx, i, h, Some(&layer.residual));
                h = layer.residual.forward(cx, x, times);
                match &layer.attention {
                    Some(attention) if !paired => h = attention.forward(cx, h),
                    _ => {}
                }
            }
            if let Some(up) = &level.resample {
                if paired {
                    h = add_skip(cx, i, h, None).whole;
                }
                cx.tape.enter_layer(&format!("up_blocks.{i}.upsamplers.0.resize"));
                h = up.forward(cx, h);
            }
        }
        let h = self.norm_out.forward(cx, h);
        self.conv_out.forward(cx, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::{Capability, Device};
    use crate::engine::ops::check::hopper_targets;
    use crate::engine::random::{Philox, RngState, Stream};
    use crate::engine::tape::{Backend, Session, Tape};
    use crate::engine::tensor::{DType, Store};
    use crate::nn::{Shortcut, Weights};
    use crate::profile::Step;
    use crate::train::presets;

    fn count(config: &UNetConfig) -> usize {
        let mut params = ParamSet::default();
        UNet::new(config, &mut params).unwrap();
        params.count()
    }

    #[test]
    fn published_parameter_counts() {
        assert_eq!(count(&UNetConfig::default()), 35_746_307);
        let mnist = UNetConfig {
            in_channels: 1,
            out_channels: 1,
            channels: vec![64, 128, 256, 512],
            layout: Layout::Paired,
            downsample: Downsample::Conv,
            upsample: Upsample::BilinearConv,
            shortcut: Shortcut::Conv3x3,
            norm_eps: 1e-5,
            ..UNetConfig::default()
        };
        assert_eq!(count(&mnist), 57_489_857);
        assert_eq!(count(&UNetConfig { out_channels: 2, ..mnist.clone() }), 57_490_434);
        assert_eq!(count(&UNetConfig { classes: 3, ..mnist }), 57_490_881);
        let unet64 = UNetConfig {
            image_size: 64,
            channels: vec![64, 128, 192, 256],
            attention_levels: vec![2, 3],
            head_dim: 32,
            downsample: Downsample::AvgPool,
            upsample: Upsample::Nearest,
            ..UNetConfig::default()
        };
        assert_eq!(count(&unet64), 20_494_211);
    }

    #[test]
    fn the_paired_layout_has_eleven_skips() {
        let config = UNetConfig {
            in_channels: 1,
            out_channels: 2,
            layout: Layout::Paired,
            channels: vec![32, 64, 96, 128],
            ..UNetConfig::default()
        };
        let mut params = ParamSet::default();
        let unet = UNet::new(&config, &mut params).unwrap();
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, false);
        let (x, t) = (store.tensor(&[1, 32, 32, 1], DType::F32), store.tensor(&[1], DType::F32));
        let mut tape = Tape::new(Backend::Cpu, DType::F32);
        let out = unet.forward(&mut Forward::evaluate(&mut tape, &weights), x, t, None);
        assert_eq!(out.dims(), [1, 32, 32, 2]);
        assert_eq!(tape.nodes().iter().filter(|node| node.name() == "concat_fwd").count(), 11);
    }

    /// Where kernels read two tensors, nobody stores a skip again.
    #[test]
    fn skips_are_concatenated_where_a_reader_wants_one_tensor() {
        let concatenations = |preset: &str, capability| {
            let mut config = presets::get(preset).unwrap();
            config.train.batch_size = 128;
            let step = Step::plan(&config, Backend::Gpu(capability), DType::Bf16).unwrap();
            let count = |op: &str| step.work.iter().filter(|work| work.op == op).count();
            [count("concat_fwd"), count("concat_bwd")]
        };
        assert_eq!(concatenations("ddpm-cifar10", Capability::Hopper), [0, 0]);
        assert_eq!(concatenations("ddpm-cifar10", Capability::Ampere), [12, 12]);
        // Three resampling layers read skips too.
        assert_eq!(concatenations("mnist-123", Capability::Hopper), [3, 3]);
    }

    /// The result and all gradients of a small network, joined skips against concatenated ones: a group that lies in both
    /// tensors, a skip with another number of channels than what it joins.
    #[test]
    fn joined_skips_change_no_bit() {
        let config = UNetConfig {
            image_size: 8,
            channels: vec![64, 128],
            layers_per_level: 1,
            attention_levels: vec![],
            mid_attention: false,
            ..UNetConfig::default()
        };
        let mut params = ParamSet::default();
        let unet = UNet::new(&config, &mut params).unwrap();
        let philox = Philox::new(RngState { seed: 3, step: 0, first_image: 0 }, Stream::new(5));
        let initial = params.initial(|p, _, values| {
            philox.fill_normal(p as u32, 0, values);
            values.iter_mut().for_each(|v| *v *= 0.1);
        });
        let run = |device: Device, learns: bool, reads: fn(&ResBlock, &mut Forward, [Tensor; 2]) -> bool| {
            let mut store = Store::new();
            let weights = Weights::reserve(&mut store, &params, DType::Bf16, learns);
            let [x, dy] = [(); 2].map(|()| store.tensor(&[2, 8, 8, 3], DType::Bf16));
            let t = store.tensor(&[2], DType::F32);
            let mut session = Session::new(device, &store).unwrap();
            let mut tape = Tape::new(session.backend(), DType::Bf16);
            let y = unet.record(&mut Forward::evaluate(&mut tape, &weights), x, t, None, reads);
            tape.keep(y);
            if learns {
                tape.seed_grad(y, dy);
                tape.backward();
            }
            let joins = tape.nodes().iter().filter(|node| node.name() == "join").count();
            weights.write(&mut session, &initial).unwrap();
            session.write(t, &[3.0, 700.0]).unwrap();
            for (image, t) in [x, dy].into_iter().enumerate() {
                let mut values = vec![0.0; t.numel()];
                philox.fill_normal(1000 + image as u32, 0, &mut values);
                session.write(t, &values).unwrap();
            }
            let mut program = session.load(tape).unwrap();
            session.run(&mut program).unwrap();
            let y = session.read_in(&program, y).unwrap();
            let gradients = if learns { session.read(weights.gradients).unwrap() } else { Vec::new() };
            (joins, y, gradients)
        };
        for target in hopper_targets().into_iter().take(1) {
            let (joins, y, gradients) = run(target.open(), true, ResBlock::reads_joined);
            let (none, wanted_y, wanted_gradients) = run(target.open(), true, |_, _, _| false);
            assert!(joins == 2 && none == 0, "{joins} and {none} joins");
            assert!(gradients.iter().filter(|g| **g != 0.0).count() > gradients.len() / 2);
            assert!(y == wanted_y && gradients == wanted_gradients);
            // Nothing outlives its last reader here.
            assert!(run(target.open(), false, ResBlock::reads_joined).1 == y);
        }
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refused = |config: UNetConfig| UNet::new(&config, &mut ParamSet::default()).unwrap_err().to_string();
        let base = UNetConfig::default();
        assert!(refused(UNetConfig { groups: 48, ..base.clone() }).contains("model.groups = 48"));
        assert!(refused(UNetConfig { image_size: 36, ..base.clone() }).contains("model.image_size = 36"));
        assert!(refused(UNetConfig { head_dim: 96, ..base.clone() }).contains("model.head_dim = 96"));
        assert!(refused(UNetConfig { attention_levels: vec![4], ..base }).contains("model.attention_levels"));
    }
}
