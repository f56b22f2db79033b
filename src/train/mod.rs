//! Training: from a configuration to a run directory.
//!
//! Reading order: [`config`] -> [`program`] -> [`trainer`] -> [`checkpoint`] -> [`run`].

pub mod averages;
mod cautions;
pub mod checkpoint;
pub mod config;
mod course;
pub mod diffusers_scheduler;
mod diffusion_config;
pub mod evaluation;
pub mod event;
pub mod feed;
mod follow;
mod history;
mod loaded;
mod log;
pub mod memory;
mod missing_model;
pub mod model_file;
mod objective;
mod openai_model;
pub mod presets;
pub mod program;
pub(crate) mod random;
pub mod run;
pub mod run_dir;
mod run_lock;
mod run_report;
pub mod sample_config;
pub mod schedule;
mod settings;
pub mod share;
mod step_inputs;
mod sum_tree;
pub mod trainer;
pub mod validation;
mod validator;

pub use config::Config;
pub use loaded::LoadedModel;
pub use model_file::{ModelFile, Which};
pub use run_dir::RunDir;
pub use settings::nearest;
pub use trainer::Trainer;
