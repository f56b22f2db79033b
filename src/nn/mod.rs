//! Networks: layers that register parameters and record ops.

mod attention;
mod config;
pub mod diffusers;
pub mod diffusers_config;
#[cfg(test)]
mod golden;
pub(crate) mod layers;
mod mlp;
mod model;
mod params;
mod resnet_unet;
mod skip_net;
pub mod summary;
pub mod tensor_file;
mod time_embedding;
mod unet;

pub use config::{Downsample, Layout, Shortcut, UNetConfig, Upsample};
pub use layers::Forward;
pub use mlp::{Mlp, MlpConfig};
pub use model::{ARCHITECTURE, ModelConfig, Network};
pub use params::{Init, Param, ParamId, ParamSet, Part, Weights};
pub use resnet_unet::{ResnetUnet, ResnetUnetConfig};
pub use skip_net::{Activation, Pool, SkipNet, SkipNetConfig, TimeVector};
pub use unet::UNet;
