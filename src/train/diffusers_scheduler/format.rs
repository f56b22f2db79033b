//! Names in the files of a scheduler, and what we add to them.

use crate::train::diffusion_config::DiffusionConfig;
use crate::train::sample_config::SampleConfig;
use serde::{Deserialize, Serialize};

/// Name of the file.
pub const FILE: &str = "scheduler_config.json";
/// Name of the file that lists the parts of a pipeline.
pub const PIPELINE_INDEX: &str = "model_index.json";
/// Key of our own sections.
pub(super) const OWN: &str = "_ddpm";

pub(super) const DDPM: &str = "DDPMScheduler";
pub(super) const DDIM: &str = "DDIMScheduler";
pub(super) const DPM_SOLVER: &str = "DPMSolverMultistepScheduler";

/// The sections of a configuration that a scheduler is made of.
#[derive(Serialize, Deserialize)]
pub(super) struct Sections {
    pub diffusion: DiffusionConfig,
    pub sample: SampleConfig,
}
