//! Checkpoints of Nichol and Dhariwal's code (improved-diffusion, and of guided-diffusion what resamples by convolutions):
//! the U-Net that the shapes of the weights describe, and its weights by our names.
//!
//! ```text
//! time_embed.0, .2    input_blocks.K.0    in_layers.0, .2, emb_layers.1, out_layers.0, .3, skip_connection   a residual block
//! label_emb           input_blocks.K.1    norm, qkv, proj_out                                                attention
//! out.0, .2           input_blocks.K.0.op, output_blocks.K.N.conv                                           resampling
//! ```
//! Blocks are counted through all levels. The rows of `qkv` have the heads outermost: q, k and v of the first head, then of
//! the next. What no shape tells is the number of heads and of the groups of a norm, and the size of the images.

#[cfg(test)]
pub(crate) mod fixture;

use super::{Downsample, ImageSize, UNetConfig, Upsample};
use crate::nn::weight_file::WeightFile;
use crate::{Error, Result};
use std::collections::HashMap;

/// Channels that a group norm of theirs divides into as many groups.
const GROUPS: usize = 32;
/// Where the middle has its attention.
const MIDDLE: &str = "middle_block.1.qkv.weight";

/// Checks if weights have the names of such a network.
pub fn is_one(file: &WeightFile) -> bool {
    ["time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"].iter().all(|name| file.dims(name).is_some())
}

/// Describes the network; the number of heads and the size of the images are those that the published models of these
/// levels have.
///
/// # Errors
/// A network with layers that ours lacks, by their names.
pub fn config(file: &WeightFile) -> Result<UNetConfig> {
    Shapes(file).config().map_err(|reason| Error::format(file.path(), reason))
}

/// The shapes in a file.
struct Shapes<'a>(&'a WeightFile);

/// The encoder as its blocks describe it.
struct Encoder {
    channels: Vec<usize>,
    layers: usize,
    attention_levels: Vec<usize>,
    convolves: bool,
}

impl Shapes<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.dims(name).is_some()
    }

    /// A dimension of a tensor.
    fn dim(&self, name: &str, index: usize) -> Result<usize, String> {
        let dims = self.0.dims(name).ok_or_else(|| format!("tensor \"{name}\" is missing"))?;
        let dim = dims.get(index).copied().filter(|&dim| dim > 0);
        dim.ok_or_else(|| format!("tensor \"{name}\" has the dimensions {dims:?}"))
    }

    fn config(&self) -> Result<UNetConfig, String> {
        self.refuse_foreign_layers()?;
        let Encoder { channels, layers, attention_levels, convolves } = self.encoder()?;
        let (width, time_dim) = (channels[0], self.dim("time_embed.0.weight", 0)?);
        let deepest = channels[channels.len() - 1];
        let classes = if self.has("label_emb.weight") { self.dim("label_emb.weight", 0)? } else { 0 };
        let columns = self.dim("middle_block.0.emb_layers.1.weight", 0)?;
        let time_scale_shift = columns == 2 * deepest;
        let multiples: Vec<usize> = channels.iter().map(|c| c / width).collect();
        let image_size = match multiples[..] {
            [1, 2, 2, 2] => 32,
            [1, 2, 3, 4] => 64,
            [1, 1, 2, 3, 4] => 128,
            [1, 1, 2, 2, 4, 4] => 256,
            _ => 8 << (channels.len() - 1).min(16),
        };
        let (downsample, upsample) = match convolves {
            true => (Downsample::Conv, Upsample::NearestConv),
            false => (Downsample::AvgPool, Upsample::Nearest),
        };
        Ok(UNetConfig {
            image_size: ImageSize::from(image_size),
            in_channels: self.dim("input_blocks.0.0.weight", 1)?,
            out_channels: self.dim("out.2.weight", 0)?,
            layers_per_level: layers,
            attention_levels,
            heads: if time_scale_shift { 4 } else { 1 },
            groups: GROUPS,
            norm_eps: 1e-5,
            downsample,
            upsample,
            time_scale_shift,
            time_dim: if time_dim == 4 * width { 0 } else { time_dim },
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            classes,
            null_class: classes == 0,
            channels,
            ..UNetConfig::default()
        })
    }

    /// Walks over the blocks of the encoder. A place without weights is a mean of pixels.
    fn encoder(&self) -> Result<Encoder, String> {
        let mut levels = vec![Vec::new()];
        let mut convolves = true;
        for index in 1.. {
            let block = format!("input_blocks.{index}");
            let level = levels.last_mut().expect("one at least");
            if self.has(&format!("{block}.0.in_layers.0.weight")) {
                let c = self.dim(&format!("{block}.0.out_layers.3.weight"), 0)?;
                level.push((c, self.has(&format!("{block}.1.qkv.weight"))));
            } else if self.has(&format!("{block}.0.op.weight")) {
                levels.push(Vec::new());
            } else if self.has(&format!("input_blocks.{}.0.in_layers.0.weight", index + 1)) {
                convolves = false;
                levels.push(Vec::new());
            } else {
                break;
            }
        }
        let first = |level: &Vec<(usize, bool)>| level.first().copied();
        let layers = levels[0].len();
        let is_even =
            |level: &Vec<(usize, bool)>| level.len() == layers && level.iter().all(|b| Some(*b) == first(level));
        if layers == 0 || !levels.iter().all(is_even) {
            return Err(format!("the blocks of its levels differ, {levels:?} (channels, attention), as ours cannot"));
        }
        let width = self.dim("input_blocks.0.0.weight", 0)?;
        if levels[0][0].0 != width {
            return Err(format!("the first level has {} channels and the first convolution {width}", levels[0][0].0));
        }
        Ok(Encoder {
            channels: levels.iter().map(|level| level[0].0).collect(),
            layers,
            attention_levels: (0..levels.len()).filter(|&level| levels[level][0].1).collect(),
            convolves,
        })
    }

    /// Names the layers that our network lacks.
    fn refuse_foreign_layers(&self) -> Result<(), String> {
        let names = self.0.names();
        let is_within = |name: &&String, part: &str| name.split('.').any(|word| word == part);
        if let Some(name) = names.iter().find(|name| is_within(name, "transformer_blocks")) {
            return Err(format!("\"{name}\": attention to a text (latent diffusion), which ddpm lacks"));
        }
        let resamples = |name: &&String| {
            name.starts_with("output_blocks.") && name.split('.').nth(2) != Some("0") && is_within(name, "in_layers")
        };
        if let Some(name) = names.iter().find(resamples) {
            return Err(format!(
                "\"{name}\": a residual block that resamples, which ddpm lacks; a model with resblock_updown=False would do"
            ));
        }
        if !self.has(MIDDLE) {
            return Err(format!("tensor \"{MIDDLE}\" is missing"));
        }
        let (given, made) = (self.dim("input_blocks.0.0.weight", 1)?, self.dim("out.2.weight", 0)?);
        if given == 6 && [3, 6].contains(&made) {
            return Err("it takes a small image beside the noisy one (an upsampling model), which ddpm lacks; the model of the small \
                        images would do".into());
        }
        Ok(())
    }
}

/// Their names of the layers of a residual block, and ours.
const RESIDUAL: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// The weights of a file by our names.
pub struct OpenAiWeights<'a> {
    file: &'a WeightFile,
    /// Their name of each layer of ours.
    layers: HashMap<String, String>,
    config: &'a UNetConfig,
}

impl<'a> OpenAiWeights<'a> {
    /// The weights of a file for a network of this configuration.
    pub fn new(file: &'a WeightFile, config: &'a UNetConfig) -> OpenAiWeights<'a> {
        let layers = layers(config).into_iter().map(|(theirs, ours)| (ours, theirs)).collect();
        OpenAiWeights { file, layers, config }
    }

    /// Values of a tensor of these dimensions, by our name.
    ///
    /// # Errors
    /// A tensor that is missing, damaged, or has other dimensions.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let (layer, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        if let Some((block, part)) = layer.rsplit_once('.').filter(|(_, part)| PROJECTIONS.contains(part)) {
            return self.projection(block, part, kind, dims);
        }
        let theirs = format!("{}.{kind}", self.layer(layer)?);
        // What is a linear layer of pixels here is a convolution of a sequence there.
        let dims = if layer.ends_with(".to_out.0") && kind == "weight" { [dims, &[1]].concat() } else { dims.to_vec() };
        self.file.read(&theirs, &dims)
    }

    fn layer(&self, ours: &str) -> Result<&str> {
        let unknown = || Error::format(self.file.path(), format!("\"{ours}\" has no counterpart in this network"));
        self.layers.get(ours).map(String::as_str).ok_or_else(unknown)
    }

    /// The rows of one of q, k and v, which lie between those of the others, head by head.
    fn projection(&self, block: &str, part: &str, kind: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let theirs = format!("{}.{kind}", self.layer(&format!("{block}.qkv"))?);
        let (rows, row) = (dims[0], dims[1..].iter().product::<usize>());
        let all = match kind {
            "weight" => self.file.read(&theirs, &[3 * rows, row, 1])?,
            _ => self.file.read(&theirs, &[3 * rows])?,
        };
        let (_, head_dim) = self.config.heads(rows);
        let first = PROJECTIONS.iter().position(|p| *p == part).expect("one of them") * head_dim;
        let of_head = |head: &[f32]| head[first * row..][..head_dim * row].to_vec();
        Ok(all.chunks_exact(3 * head_dim * row).flat_map(of_head).collect())
    }
}

/// Our names of the parts of `qkv`, in their order.
const PROJECTIONS: [&str; 3] = ["to_q", "to_k", "to_v"];

/// Their name and ours of every layer.
fn layers(config: &UNetConfig) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (theirs, ours) in [
        ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"),
        ("label_emb", "class_embedding"),
        ("input_blocks.0.0", "conv_in"),
        ("out.0", "conv_norm_out"),
        ("out.2", "conv_out"),
    ] {
        pairs.push((theirs.to_owned(), ours.to_owned()));
    }
    let levels = config.channels.len();
    let mut index = 1;
    for level in 0..levels {
        let ours = format!("down_blocks.{level}");
        for j in 0..config.layers_per_level {
            block(&mut pairs, &format!("input_blocks.{index}"), &ours, j);
            index += 1;
        }
        pairs.push((format!("input_blocks.{index}.0.op"), format!("{ours}.downsamplers.0.conv")));
        index += 1;
    }
    residual(&mut pairs, "middle_block.0", "mid_block.resnets.0");
    attention(&mut pairs, "middle_block.1", "mid_block.attentions.0");
    residual(&mut pairs, "middle_block.2", "mid_block.resnets.1");
    let mut index = 0;
    for level in (0..levels).rev() {
        let ours = format!("up_blocks.{}", levels - 1 - level);
        for j in 0..=config.layers_per_level {
            block(&mut pairs, &format!("output_blocks.{index}"), &ours, j);
            index += 1;
        }
        let place = 1 + usize::from(config.attention_levels.contains(&level));
        pairs.push((format!("output_blocks.{}.{place}.conv", index - 1), format!("{ours}.upsamplers.0.conv")));
    }
    pairs
}

/// The layers of a residual block and of the attention after it.
fn block(pairs: &mut Vec<(String, String)>, theirs: &str, ours: &str, j: usize) {
    residual(pairs, &format!("{theirs}.0"), &format!("{ours}.resnets.{j}"));
    attention(pairs, &format!("{theirs}.1"), &format!("{ours}.attentions.{j}"));
}

fn residual(pairs: &mut Vec<(String, String)>, theirs: &str, ours: &str) {
    pairs.extend(RESIDUAL.map(|(their, our)| (format!("{theirs}.{their}"), format!("{ours}.{our}"))));
}

fn attention(pairs: &mut Vec<(String, String)>, theirs: &str, ours: &str) {
    let layers = [("norm", "group_norm"), ("qkv", "qkv"), ("proj_out", "to_out.0")];
    pairs.extend(layers.map(|(their, our)| (format!("{theirs}.{their}"), format!("{ours}.{our}"))));
}

#[cfg(test)]
mod tests;
