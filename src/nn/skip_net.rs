//! Plain encoder-decoder networks with skips: one convolution per block, the time enters at the bottleneck only.
//!
//! ```text
//! x -> block 0 -> pool -> block 1 -> ... -> bottleneck(+ time) -> ... -> up, join, block -> join x -> conv_out
//! |       |                                                                  |                |
//! |       `---- skips, joined as channels -----------------------------------'                |
//! `-------------------------------------------------------------------------------------------'
//! ```
//! A block is a 3x3 convolution, optionally group norm, an activation, and in the encoder and the bottleneck optionally
//! attention. All encoder blocks but the last are followed by a pool and kept, as they are before it, for the decoder.

use super::architecture::{Architecture, Module, Samples};
use super::attention::GatedAttention;
use super::checks;
use super::image_size::ImageSize;
use super::layers::{Conv, Forward, GroupNorm, Start};
use super::params::ParamSet;
use super::time_embedding::TimeEmbedding;
use crate::engine::ops::avg_pool::avg_pool;
use crate::engine::ops::channel_bias::channel_bias;
use crate::engine::ops::concat::concat;
use crate::engine::ops::max_pool::max_pool;
use crate::engine::ops::relu::relu;
use crate::engine::ops::silu::silu;
use crate::engine::ops::timestep_embedding::Sinusoids;
use crate::engine::ops::upsample::upsample_nearest;
use crate::engine::tape::Tape;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The way in which an encoder block's result is halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Mean of 2x2 pixels.
    Average,
    /// Largest of 2x2 pixels.
    Max,
}

/// The activation after every convolution but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x sigmoid(x).
    Silu,
}

/// The way in which the time becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeVector {
    /// A learned row for each time.
    Table,
    /// Linear, SiLU, Linear of sinusoids.
    Mlp,
}

/// A plain encoder-decoder network with skips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkipNetConfig {
    /// Height and width of the images.
    pub image_size: ImageSize,
    /// Channels of the input: 1 or 3 for images.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Channels of each encoder block; the bottleneck has those of the last.
    pub channels: Vec<usize>,
    /// The way in which an encoder block's result is halved.
    pub pool: Pool,
    /// The activation after every convolution but the last.
    pub activation: Activation,
    /// Groups of the norm after every convolution but the last; 0: no norms.
    pub groups: usize,
    /// Added to the variance in every group norm.
    pub norm_eps: f32,
    /// Encoder blocks with attention; 0 is the full image.
    pub attention_blocks: Vec<usize>,
    /// Attention after the bottleneck.
    pub mid_attention: bool,
    /// The way in which the time becomes a vector.
    pub time: TimeVector,
    /// Rows of the time table, one for each time that is distinguished. Read by `table`.
    pub time_rows: usize,
    /// Sinusoids of the time. Read by `mlp`.
    pub time_dim: usize,
    /// Number of classes to condition on; 0 is an unconditional model.
    pub classes: usize,
}

impl Default for SkipNetConfig {
    /// For CIFAR-10, with norms and attention after every block, 1,852,657 parameters.
    fn default() -> SkipNetConfig {
        SkipNetConfig {
            image_size: ImageSize::from(32),
            in_channels: 3,
            out_channels: 3,
            channels: vec![32, 64, 128, 256],
            pool: Pool::Max,
            activation: Activation::Silu,
            groups: 8,
            norm_eps: 1e-5,
            attention_blocks: vec![0, 1, 2, 3],
            mid_attention: true,
            time: TimeVector::Mlp,
            time_rows: 1000,
            time_dim: 128,
            classes: 0,
        }
    }
}

impl SkipNetConfig {
    fn check_attention(&self) -> Result<()> {
        let (c, blocks) = (&self.channels, self.channels.len());
        if let Some(block) = self.attention_blocks.iter().find(|&&block| block >= blocks) {
            let message = format!("model.attention_blocks: {block} is not among the {blocks} blocks");
            return Err(Error::Config(message));
        }
        let attended = self.attention_blocks.iter().map(|&block| c[block]);
        let unfit = |c: &usize| !c.is_multiple_of(GatedAttention::REDUCTION);
        if let Some(c) = attended.chain(self.mid_attention.then(|| c[blocks - 1])).find(unfit) {
            let reduction = GatedAttention::REDUCTION;
            let message = format!("attention needs a multiple of {reduction} channels; model.channels has {c}");
            return Err(Error::Config(message));
        }
        Ok(())
    }
}

impl Architecture for SkipNetConfig {
    fn samples(&self) -> Samples {
        Samples::Images { multiple_of: 1 << (self.channels.len() - 1) }
    }

    fn sample_dims(&self) -> [usize; 3] {
        [self.image_size.height, self.image_size.width, self.in_channels]
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn validate(&self) -> Result<()> {
        let c = &self.channels;
        if c.is_empty() || c.contains(&0) {
            let message = "model.channels: at least one block with at least one channel is needed";
            return Err(Error::Config(message.into()));
        }
        checks::at_least(&[
            ("in_channels", self.in_channels, 1),
            ("out_channels", self.out_channels, 1),
            ("time_rows", self.time_rows, 1),
            ("time_dim", self.time_dim, 2),
        ])?;
        self.image_size.check_halvings(c.len() - 1)?;
        if self.groups > 0 {
            checks::divides("groups", self.groups, c.iter().copied())?;
        }
        self.check_attention()?;
        checks::norm_eps(self.norm_eps)
    }

    fn build(&self, params: &mut ParamSet) -> Result<Box<dyn Module>> {
        Ok(Box::new(SkipNet::new(self, params)?))
    }
}

/// Parts of a block beside its convolution.
#[derive(Clone, Copy, Default)]
struct Extras {
    attention: bool,
    /// The time is added between norm and activation.
    time: bool,
}

/// Convolution, norm, activation, attention.
#[derive(Clone, Debug)]
struct Block {
    conv: Conv,
    norm: Option<GroupNorm>,
    /// Absent where the norm computes it.
    activation: Option<Activation>,
    attention: Option<GatedAttention>,
}

impl Block {
    fn new(
        params: &mut ParamSet,
        name: &str,
        [c_in, c_out]: [usize; 2],
        extras: Extras,
        config: &SkipNetConfig,
    ) -> Block {
        let SkipNetConfig { groups, norm_eps, activation, .. } = *config;
        let fused = groups > 0 && activation == Activation::Silu && !extras.time;
        let conv = Conv::same3x3(params, &format!("{name}.conv"), c_in, c_out, Start::FanIn);
        let norm =
            (groups > 0).then(|| GroupNorm::new(params, &format!("{name}.norm"), c_out, groups, norm_eps, fused));
        let attention = extras.attention.then(|| GatedAttention::new(params, &format!("{name}.attention"), c_out));
        Block { conv, norm, activation: (!fused).then_some(activation), attention }
    }

    /// `x [n, h, w, c_in]` and, at the bottleneck, `time [n, c_out]` to `[n, h, w, c_out]`.
    fn forward(&self, cx: &mut Forward, x: Tensor, time: Option<Tensor>) -> Tensor {
        let mut h = self.conv.forward(cx, x);
        h = self.norm.as_ref().map_or(h, |norm| norm.forward(cx, h));
        h = time.map_or(h, |time| channel_bias(cx.tape, h, time));
        h = match self.activation {
            Some(Activation::Relu) => relu(cx.tape, h),
            Some(Activation::Silu) => silu(cx.tape, h),
            None => h,
        };
        self.attention.as_ref().map_or(h, |attention| attention.forward(cx, h))
    }
}

/// A plain encoder-decoder network with skips, built.
#[derive(Clone, Debug)]
struct SkipNet {
    pool: Pool,
    time_embedding: TimeEmbedding,
    encoder: Vec<Block>,
    bottleneck: Block,
    /// Deepest block first.
    decoder: Vec<Block>,
    conv_out: Conv,
}

impl SkipNet {
    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// A configuration for which no network exists.
    fn new(config: &SkipNetConfig, params: &mut ParamSet) -> Result<SkipNet> {
        config.validate()?;
        let c = &config.channels;
        let deepest = c[c.len() - 1];
        let time_embedding = match config.time {
            TimeVector::Table => TimeEmbedding::table(params, config.time_rows, deepest, config.class_rows()),
            TimeVector::Mlp => {
                let sinusoids = Sinusoids::new(config.time_dim);
                TimeEmbedding::mlp(params, sinusoids, deepest, config.class_rows())
            }
        };
        let mut h = config.in_channels;
        let mut encoder = Vec::new();
        for (i, &c) in c.iter().enumerate() {
            let extras = Extras { attention: config.attention_blocks.contains(&i), time: false };
            encoder.push(Block::new(params, &format!("encoder.{i}"), [h, c], extras, config));
            h = c;
        }
        let extras = Extras { attention: config.mid_attention, time: true };
        let bottleneck = Block::new(params, "bottleneck", [deepest; 2], extras, config);
        let mut decoder = Vec::new();
        for (i, &c) in c[..c.len() - 1].iter().rev().enumerate() {
            decoder.push(Block::new(params, &format!("decoder.{i}"), [h + c, c], Extras::default(), config));
            h = c;
        }
        let c_in = h + config.in_channels;
        let conv_out = Conv::same3x3(params, "conv_out", c_in, config.out_channels, Start::FanIn);
        Ok(SkipNet { pool: config.pool, time_embedding, encoder, bottleneck, decoder, conv_out })
    }

    fn halve(&self, tape: &mut Tape, x: Tensor) -> Tensor {
        match self.pool {
            Pool::Average => avg_pool(tape, x),
            Pool::Max => max_pool(tape, x, 2, 2),
        }
    }
}

impl Module for SkipNet {
    fn forward(&self, cx: &mut Forward, x: Tensor, t: Tensor, labels: Option<Tensor>) -> Tensor {
        let time = self.time_embedding.forward(cx, t, labels);
        let [first, deeper @ ..] = &self.encoder[..] else { unreachable!("there is at least one block") };
        let mut h = first.forward(cx, x, None);
        let mut skips = Vec::new();
        for block in deeper {
            skips.push(h);
            h = self.halve(cx.tape, h);
            h = block.forward(cx, h, None);
        }
        h = self.bottleneck.forward(cx, h, Some(time));
        for (i, (block, skip)) in self.decoder.iter().zip(skips.into_iter().rev()).enumerate() {
            cx.tape.enter_layer(&format!("decoder.{i}.join"));
            h = upsample_nearest(cx.tape, h);
            h = concat(cx.tape, h, skip);
            h = block.forward(cx, h, None);
        }
        cx.tape.enter_layer("conv_out");
        h = concat(cx.tape, h, x);
        self.conv_out.forward(cx, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Device;
    use crate::engine::tape::{Backend, Session};
    use crate::engine::tensor::{DType, Store};
    use crate::nn::{Init, Weights};

    fn count(config: &SkipNetConfig) -> usize {
        let mut params = ParamSet::default();
        SkipNet::new(config, &mut params).unwrap();
        params.count()
    }

    #[test]
    fn parameter_counts() {
        let c2 = SkipNetConfig::default();
        assert_eq!(count(&c2), 1_852_657);
        let c1 = SkipNetConfig { groups: 0, attention_blocks: vec![2, 3], ..c2.clone() };
        assert_eq!(count(&c1), 1_844_215);
        let dm2 = SkipNetConfig { in_channels: 1, out_channels: 1, ..c1.clone() };
        assert_eq!(count(&dm2), 1_842_989);
        let dm1 = SkipNetConfig {
            channels: vec![32, 64, 128],
            attention_blocks: vec![],
            mid_attention: false,
            time: TimeVector::Table,
            time_rows: 500,
            ..dm2
        };
        assert_eq!(count(&dm1), 442_890);
        let c3 = SkipNetConfig { channels: vec![96, 192, 384, 768, 1536], attention_blocks: vec![0, 1, 2, 3, 4], ..c2 };
        assert_eq!(count(&c3), 65_950_050);
    }

    #[test]
    fn attention_starts_by_doing_nothing() {
        let with = SkipNetConfig {
            image_size: ImageSize::from(8),
            channels: vec![8, 16],
            attention_blocks: vec![0, 1],
            ..<_>::default()
        };
        let without = SkipNetConfig { attention_blocks: vec![], mid_attention: false, ..with.clone() };
        let evaluate = |config: &SkipNetConfig| {
            let mut params = ParamSet::default();
            let net = SkipNet::new(config, &mut params).unwrap();
            // Values by name, so that both networks have the same.
            let names: Vec<String> = params.iter().map(|p| p.parts[0].name.clone()).collect();
            let flat = params.initial(|p, init, values| {
                let seed: u32 = names[p].bytes().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
                let wave = |i: usize| (seed as f32 % 1000.0 + 1.7 * i as f32).sin();
                values.iter_mut().enumerate().for_each(|(i, v)| {
                    *v = match init {
                        Init::Constant(c) => c,
                        Init::Uniform(bound) => bound * wave(i),
                        Init::Normal => wave(i),
                    }
                });
            });
            let mut store = Store::new();
            let weights = Weights::reserve(&mut store, &params, DType::F32, false);
            let (x, t) = (store.tensor(&[2, 8, 8, 3], DType::F32), store.tensor(&[2], DType::F32));
            let mut session = Session::new(Device::Cpu, &store).unwrap();
            let mut tape = Tape::new(Backend::Cpu, DType::F32);
            let out = net.forward(&mut Forward::evaluate(&mut tape, &weights), x, t, None);
            assert_eq!(out.dims(), x.dims());
            tape.keep(out);
            weights.write(&mut session, &flat).unwrap();
            session.write(x, &(0..x.numel()).map(|i| (i as f32).cos()).collect::<Vec<_>>()).unwrap();
            session.write(t, &[3.0, 700.0]).unwrap();
            let mut program = session.load(tape).unwrap();
            session.run(&mut program).unwrap();
            session.read_in(&program, out).unwrap()
        };
        let out = evaluate(&with);
        assert!(out.iter().any(|v| v.abs() > 1e-3) && out == evaluate(&without));
    }

    #[test]
    fn impossible_configurations_are_refused_by_name() {
        let refused = |config: SkipNetConfig| SkipNet::new(&config, &mut ParamSet::default()).unwrap_err().to_string();
        let base = SkipNetConfig::default();
        assert!(refused(SkipNetConfig { groups: 5, ..base.clone() }).contains("model.groups = 5"));
        assert!(
            refused(SkipNetConfig { image_size: ImageSize::from(20), ..base.clone() })
                .contains("model.image_size = 20")
        );
        assert!(refused(SkipNetConfig { attention_blocks: vec![4], ..base.clone() }).contains("4 is not among the 4"));
        assert!(
            refused(SkipNetConfig { channels: vec![32, 36], groups: 4, attention_blocks: vec![], ..base })
                .contains("a multiple of 8 channels")
        );
    }
}
