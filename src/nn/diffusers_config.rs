//! The `config.json` of diffusers' `UNet2DModel`, to and from [`UNetConfig`]. A setting that our network cannot compute is
//! refused by key and value; a key that a file leaves out has the default of diffusers.

use super::advice;
use super::{Architecture, Downsample, ImageSize, Layout, Shortcut, UNetConfig, Upsample};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Every key of the configuration, with the value that a file means by leaving it out.
fn defaults() -> Map<String, Value> {
    let Value::Object(map) = json!({
        "_class_name": CLASS, "sample_size": null, "in_channels": 3, "out_channels": 3,
        "center_input_sample": false, "time_embedding_type": "positional", "time_embedding_dim": null, "freq_shift": 0,
        "flip_sin_to_cos": true,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [224, 448, 672, 896], "layers_per_block": 2, "mid_block_scale_factor": 1,
        "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv", "dropout": 0.0, "act_fn": "silu",
        "attention_head_dim": 8, "norm_num_groups": 32, "attn_norm_num_groups": null, "norm_eps": 1e-5,
        "resnet_time_scale_shift": "default", "add_attention": true, "class_embed_type": null,
        "num_class_embeds": null, "num_train_timesteps": null,
    }) else {
        unreachable!("an object is written above")
    };
    map
}

/// The class of the networks that are read.
const CLASS: &str = "UNet2DModel";

/// Keys that diffusers writes beside those of a moving average's network, and does not read with it.
const IGNORED: &[&str] =
    &["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// Our own key: the last row of the table of classes stands for no class. diffusers ignores keys with an underscore.
const NULL_CLASS: &str = "_null_class";

/// Keys of which only some values are supported.
const SUPPORTED: &[(&str, &[&str])] = &[
    ("center_input_sample", &["false"]),
    ("time_embedding_type", &["\"positional\""]),
    ("mid_block_type", &["\"UNetMidBlock2D\""]),
    ("mid_block_scale_factor", &["1", "1.0"]),
    ("downsample_padding", &["0", "1"]),
    ("downsample_type", &["\"conv\""]),
    ("upsample_type", &["\"conv\""]),
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("resnet_time_scale_shift", &["\"default\"", "\"scale_shift\""]),
    ("class_embed_type", &["null"]),
];

fn wrong(message: impl Display) -> Error {
    Error::Config(format!("config.json: {message}"))
}

/// The keys of a file, with the defaults of those that it leaves out.
struct Keys(Map<String, Value>);

impl Keys {
    fn read(text: &str) -> Result<Keys> {
        let file: Map<String, Value> = serde_json::from_str(text).map_err(|e| wrong(format!("no JSON object: {e}")))?;
        match file.get("_class_name").map(|class| class.as_str().unwrap_or_default()) {
            None | Some(CLASS) => {}
            Some(other) => return Err(wrong(format!("_class_name = \"{other}\": {}", advice::of_class(other)))),
        }
        let mut keys = defaults();
        for (key, value) in file {
            if IGNORED.contains(&key.as_str()) {
                continue;
            }
            if !key.starts_with('_') && !keys.contains_key(&key) {
                return Err(wrong(format!("{key} = {value} is not a setting of UNet2DModel that is supported")));
            }
            keys.insert(key, value);
        }
        for (key, values) in SUPPORTED {
            if !values.contains(&keys[*key].to_string().as_str()) {
                return Err(wrong(format!("{key} = {} is not supported ({})", keys[*key], values.join(" or "))));
            }
        }
        Ok(Keys(keys))
    }

    fn unlike(&self, key: &str, kind: &str) -> Error {
        wrong(format!("{key} = {} is not {kind}", self.0[key]))
    }

    fn count(&self, key: &str) -> Result<usize> {
        self.0[key].as_u64().map(|v| v as usize).ok_or_else(|| self.unlike(key, "a whole number"))
    }

    fn count_or_null(&self, key: &str) -> Result<usize> {
        if self.0[key].is_null() { Ok(0) } else { self.count(key) }
    }

    fn counts(&self, key: &str) -> Result<Vec<usize>> {
        let all = |list: &Vec<Value>| list.iter().map(|v| v.as_u64().map(|v| v as usize)).collect::<Option<Vec<_>>>();
        let list = self.0[key].as_array().and_then(all).filter(|list| !list.is_empty());
        list.ok_or_else(|| self.unlike(key, "a list of numbers"))
    }

    fn number(&self, key: &str) -> Result<f32> {
        self.0[key].as_f64().map(|v| v as f32).ok_or_else(|| self.unlike(key, "a number"))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        self.0[key].as_bool().ok_or_else(|| self.unlike(key, "true or false"))
    }

    /// For each level whether it has attention, from a list of block types: those without and with attention.
    fn attention(&self, key: &str, kinds: [&str; 2], levels: usize) -> Result<Vec<bool>> {
        let Some(blocks) = self.0[key].as_array().filter(|blocks| blocks.len() == levels) else {
            return Err(self.unlike(key, &format!("a list of {levels} block types, as block_out_channels is")));
        };
        let attends = |block: &Value| {
            let name = block.as_str().unwrap_or_default();
            match kinds.iter().position(|kind| *kind == name.strip_prefix("UNetRes").unwrap_or(name)) {
                Some(kind) => Ok(kind == 1),
                None => Err(wrong(format!("{key}: {block} is not supported ({} or {})", kinds[0], kinds[1]))),
            }
        };
        blocks.iter().map(attends).collect()
    }

    /// The levels that have attention.
    fn attention_levels(&self, levels: usize) -> Result<Vec<usize>> {
        let down = self.attention("down_block_types", ["DownBlock2D", "AttnDownBlock2D"], levels)?;
        let mut up = self.attention("up_block_types", ["UpBlock2D", "AttnUpBlock2D"], levels)?;
        up.reverse();
        if up != down {
            let types = &self.0["up_block_types"];
            return Err(wrong(format!("up_block_types = {types} does not mirror down_block_types")));
        }
        Ok((0..levels).filter(|&level| down[level]).collect())
    }

    fn groups(&self) -> Result<usize> {
        let groups = self.count("norm_num_groups")?;
        if !self.0["attn_norm_num_groups"].is_null() && self.count("attn_norm_num_groups")? != groups {
            return Err(self.unlike("attn_norm_num_groups", "norm_num_groups"));
        }
        Ok(groups)
    }

    /// The size of the images. It does not influence what the network computes: where there is none, one that fits is taken.
    fn image_size(&self, levels: usize) -> Result<ImageSize> {
        match &self.0["sample_size"] {
            Value::Null => Ok(ImageSize::from(8 << (levels - 1).min(16))),
            size => serde_json::from_value(size.clone())
                .map_err(|_| self.unlike("sample_size", "a whole number, [height, width] or null")),
        }
    }

    /// Number of classes, and if the last row of their table stands for no class. Only our own files say so.
    fn classes(&self) -> Result<(usize, bool)> {
        let rows = self.count_or_null("num_class_embeds")?;
        if rows == 0 {
            return Ok((0, UNetConfig::default().null_class));
        }
        let null_class = self.0.get(NULL_CLASS).is_some_and(|value| *value == Value::Bool(true));
        if null_class && rows < 2 {
            return Err(self.unlike("num_class_embeds", "at least 2, the last one for no class"));
        }
        Ok((rows - usize::from(null_class), null_class))
    }
}

/// Reads the network that a `config.json` describes.
///
/// # Errors
/// The first key that is unknown, has an unsupported value, or one of another type.
pub fn from_json(text: &str) -> Result<UNetConfig> {
    let keys = Keys::read(text)?;
    let channels = keys.counts("block_out_channels")?;
    let attention_levels = keys.attention_levels(channels.len())?;
    let groups = keys.groups()?;
    let (classes, null_class) = keys.classes()?;
    let asymmetric = keys.count("downsample_padding")? == 0;
    let time_scale_shift = keys.0["resnet_time_scale_shift"] == "scale_shift";
    let config = UNetConfig {
        image_size: keys.image_size(channels.len())?,
        in_channels: keys.count("in_channels")?,
        out_channels: keys.count("out_channels")?,
        layers_per_level: keys.count("layers_per_block")?,
        attention_levels,
        mid_attention: keys.flag("add_attention")?,
        // diffusers gives its middle block the groups of the other norms only if the time is added.
        mid_attention_norm: !(time_scale_shift && keys.0["attn_norm_num_groups"].is_null()),
        head_dim: keys.count_or_null("attention_head_dim")?,
        heads: 0,
        groups,
        norm_eps: keys.number("norm_eps")?,
        layout: Layout::Ddpm,
        downsample: if asymmetric { Downsample::ConvAsymmetric } else { Downsample::Conv },
        upsample: Upsample::NearestConv,
        shortcut: Shortcut::Pointwise,
        time_scale_shift,
        time_dim: keys.count_or_null("time_embedding_dim")?,
        flip_sin_to_cos: keys.flag("flip_sin_to_cos")?,
        freq_shift: keys.number("freq_shift")?,
        time_factor: 1.0,
        dropout: keys.number("dropout")?,
        classes,
        null_class,
        channels,
    };
    config.validate().map_err(wrong)?;
    Ok(config)
}

/// Lists the keys of a `config.json` that are known to have no influence.
pub fn ignored_keys(text: &str) -> Vec<String> {
    let file: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    file.into_iter().map(|(key, _)| key).filter(|key| IGNORED.contains(&key.as_str())).collect()
}

/// Writes the `config.json` of a network.
///
/// # Errors
/// A network that `UNet2DModel` cannot compute.
pub fn to_json(config: &UNetConfig) -> Result<String> {
    let head_dims: BTreeSet<usize> = config.attended().map(|channels| config.heads(channels).1).collect();
    let odd = [
        ("layout", config.layout != Layout::Ddpm),
        ("heads", config.heads > 1 && head_dims.len() > 1),
        ("mid_attention_norm", !(config.mid_attention_norm || config.time_scale_shift)),
        ("time_factor", config.time_factor != 1.0),
        ("downsample", config.downsample == Downsample::AvgPool),
        ("upsample", config.upsample != Upsample::NearestConv),
        ("shortcut", config.shortcut != Shortcut::Pointwise),
    ];
    if let Some((key, _)) = odd.iter().find(|(_, odd)| *odd) {
        return Err(Error::Config(format!("model.{key}: diffusers' UNet2DModel cannot compute this network")));
    }
    let blocks = |kind: &str| -> Vec<String> {
        let attends = |level| if config.attention_levels.contains(&level) { "Attn" } else { "" };
        (0..config.channels.len()).map(|level| format!("{}{kind}", attends(level))).collect()
    };
    let mut up = blocks("UpBlock2D");
    up.reverse();
    let or_null = |v: usize| if v == 0 { Value::Null } else { v.into() };
    // The shortest decimal that is this f32.
    let decimal = |v: f32| json!(v.to_string().parse::<f64>().expect("a float prints as a number"));
    let mut keys = Map::new();
    keys.insert("_class_name".into(), CLASS.into());
    keys.insert("_diffusers_version".into(), "0.42.1".into());
    keys.extend(defaults().into_iter().skip(1));
    // Null has two meanings: the groups of the other norms, and with scale_shift no norm in the middle.
    let attention_groups = if config.time_scale_shift && config.mid_attention_norm { config.groups } else { 0 };
    let head_dim = match head_dims.first() {
        Some(&head_dim) if config.heads > 1 => head_dim,
        _ => config.head_dim,
    };
    let freq_shift =
        if config.freq_shift.fract() == 0.0 { json!(config.freq_shift as i64) } else { decimal(config.freq_shift) };
    let changed = [
        ("sample_size", json!(config.image_size)),
        ("in_channels", config.in_channels.into()),
        ("out_channels", config.out_channels.into()),
        ("time_embedding_dim", or_null(config.time_dim)),
        ("freq_shift", freq_shift),
        ("flip_sin_to_cos", config.flip_sin_to_cos.into()),
        ("down_block_types", blocks("DownBlock2D").into()),
        ("up_block_types", up.into()),
        ("block_out_channels", config.channels.clone().into()),
        ("layers_per_block", config.layers_per_level.into()),
        ("downsample_padding", usize::from(config.downsample == Downsample::Conv).into()),
        ("dropout", decimal(config.dropout)),
        ("attention_head_dim", or_null(head_dim)),
        ("norm_num_groups", config.groups.into()),
        ("attn_norm_num_groups", or_null(attention_groups)),
        ("resnet_time_scale_shift", if config.time_scale_shift { "scale_shift" } else { "default" }.into()),
        ("norm_eps", decimal(config.norm_eps)),
        ("add_attention", config.mid_attention.into()),
        ("num_class_embeds", or_null(config.class_rows())),
    ];
    if config.has_null_class() {
        keys.insert(NULL_CLASS.into(), true.into());
    }
    keys.extend(changed.map(|(key, value)| (key.to_owned(), value)));
    Ok(serde_json::to_string_pretty(&keys).expect("plain data") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_configurations_are_read_back() {
        let small = UNetConfig {
            channels: vec![32, 64],
            attention_levels: vec![0, 1],
            head_dim: 8,
            groups: 8,
            freq_shift: 0.5,
            time_dim: 100,
            classes: 10,
            dropout: 0.1,
            downsample: Downsample::Conv,
            ..UNetConfig::default()
        };
        let scaled = UNetConfig { time_scale_shift: true, ..small.clone() };
        let without_norm = UNetConfig { mid_attention_norm: false, ..scaled.clone() };
        for config in [UNetConfig::default(), small, scaled, without_norm] {
            assert_eq!(from_json(&to_json(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn heads_are_written_where_all_have_as_many_channels() {
        let heads = UNetConfig { heads: 4, ..UNetConfig::default() };
        let read = from_json(&to_json(&heads).unwrap()).unwrap();
        assert_eq!((read.heads, read.head_dim, read.heads(256)), (0, 64, heads.heads(256)));
        let refused = [
            UNetConfig { attention_levels: vec![0, 1], ..heads },
            UNetConfig { time_factor: 0.25, ..UNetConfig::default() },
            UNetConfig { mid_attention_norm: false, ..UNetConfig::default() },
        ];
        for (config, key) in refused.iter().zip(["model.heads", "model.time_factor", "model.mid_attention_norm"]) {
            assert!(to_json(config).unwrap_err().to_string().contains(key), "{key}");
        }
    }

    #[test]
    fn missing_keys_have_the_defaults_of_diffusers() {
        let config = from_json(r#"{"block_out_channels": [32, 64, 64, 64], "_diffusers_version": "0.0.4"}"#).unwrap();
        assert_eq!((config.head_dim, config.flip_sin_to_cos, config.freq_shift, config.norm_eps), (8, true, 0.0, 1e-5));
        assert_eq!((config.attention_levels, config.downsample), (vec![1, 2, 3], Downsample::Conv));
        let one_head = from_json(r#"{"block_out_channels": [32, 64, 64, 64], "attention_head_dim": null}"#).unwrap();
        assert_eq!(one_head.head_dim, 0);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_key_and_value() {
        let refused = [
            (
                r#"{"time_embedding_type": "fourier"}"#,
                "time_embedding_type = \"fourier\" is not supported (\"positional\")",
            ),
            (r#"{"down_block_types": ["DownBlock2D"]}"#, "down_block_types"),
            (r#"{"up_block_types": ["UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]}"#, "mirror"),
            (
                r#"{"down_block_types": ["SkipDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]}"#,
                "SkipDownBlock2D",
            ),
            (r#"{"norm_num_groups": null}"#, "norm_num_groups = null"),
            (r#"{"norm_num_groups": 5}"#, "model.groups = 5"),
            (r#"{"cross_attention_dim": 768}"#, "cross_attention_dim"),
            (r#"{"_class_name": "UNet2DConditionModel"}"#, "UNet2DConditionModel"),
            ("[]", "no JSON object"),
        ];
        for (text, wanted) in refused {
            let message = from_json(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }
}
