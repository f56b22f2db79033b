//! Networks: layers that register parameters and record ops.

mod config;
pub mod diffusers;
pub mod diffusers_config;
#[cfg(test)]
mod golden;
pub(crate) mod layers;
mod model;
mod params;
pub mod tensor_file;
mod unet;

pub use config::{Downsample, Layout, Shortcut, UNetConfig, Upsample};
pub use layers::Forward;
pub use model::{ARCHITECTURE, ModelConfig, Network};
pub use params::{Init, Param, ParamId, ParamSet, Part, Weights};
pub use unet::UNet;
