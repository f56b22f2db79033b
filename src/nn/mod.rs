//! Networks: layers that register parameters and record ops.

pub mod advice;
mod architecture;
mod attention;
mod checks;
mod classifier;
mod config;
mod ddpm_unet;
pub mod diffusers;
pub mod diffusers_config;
pub mod folder;
pub mod foreign;
#[cfg(test)]
mod golden;
mod image_size;
pub(crate) mod layers;
mod mlp;
mod model;
pub mod model_folder;
pub mod openai_unet;
mod params;
mod resnet_unet;
mod skip_net;
pub mod summary;
pub mod tensor_file;
mod time_embedding;
pub(crate) mod torch_file;
mod unet;
pub mod weight_file;

pub use architecture::{Architecture, Module, Samples};
pub use classifier::{Classifier, ClassifierShape};
pub use config::{Downsample, Layout, Shortcut, UNetConfig, Upsample};
pub use image_size::ImageSize;
pub use layers::Forward;
pub use mlp::MlpConfig;
pub use model::{ARCHITECTURE, ModelConfig, Network};
pub use params::{Init, Param, ParamId, ParamSet, Part, Weights};
pub use resnet_unet::ResnetUnetConfig;
pub use skip_net::{Activation, Pool, SkipNetConfig, TimeVector};
