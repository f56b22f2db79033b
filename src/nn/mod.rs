//! Networks: layers that register parameters and record ops.

mod architecture;
mod attention;
mod checks;
mod config;
mod ddpm_unet;
pub mod diffusers;
pub mod diffusers_config;
#[cfg(test)]
mod golden;
mod image_size;
pub(crate) mod layers;
mod mlp;
mod model;
pub mod model_folder;
mod params;
mod resnet_unet;
mod skip_net;
pub mod summary;
pub mod tensor_file;
mod time_embedding;
mod torch_file;
mod unet;

pub use architecture::{Architecture, Module, Samples};
pub use config::{Downsample, Layout, Shortcut, UNetConfig, Upsample};
pub use image_size::ImageSize;
pub use layers::Forward;
pub use mlp::MlpConfig;
pub use model::{ARCHITECTURE, ModelConfig, Network};
pub use params::{Init, Param, ParamId, ParamSet, Part, Weights};
pub use resnet_unet::ResnetUnetConfig;
pub use skip_net::{Activation, Pool, SkipNetConfig, TimeVector};
