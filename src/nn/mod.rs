//! Networks: layers that register parameters and record ops.

mod config;
pub mod diffusers;
mod layers;
mod params;
mod unet;

pub use config::{Downsample, Layout, Shortcut, UNetConfig, Upsample};
pub use layers::Forward;
pub use params::{Init, Param, ParamId, ParamSet, Part, Weights};
pub use unet::UNet;
