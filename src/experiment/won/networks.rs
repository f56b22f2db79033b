//! The networks of the report, and how they are trained.

use crate::experiment::context::Context;
use crate::experiment::settings::Need;
use crate::train::{Config, presets};
use anyhow::Result;

/// A network of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Dm1,
    Dm2,
    C1,
    C2,
    C3,
}

impl Network {
    pub fn name(self) -> &'static str {
        match self {
            Network::Dm1 => "DM1",
            Network::Dm2 => "DM2",
            Network::C1 => "C1",
            Network::C2 => "C2",
            Network::C3 => "C3",
        }
    }

    /// The name in files.
    pub fn stem(self) -> &'static str {
        match self {
            Network::Dm1 => "dm1",
            Network::Dm2 => "dm2",
            Network::C1 => "c1",
            Network::C2 => "c2",
            Network::C3 => "c3",
        }
    }

    pub fn data(self) -> Need {
        match self {
            Network::Dm1 | Network::Dm2 => Need::Mnist,
            Network::C1 | Network::C2 | Network::C3 => Need::Cifar10,
        }
    }

    /// Updates in the quick size.
    fn quick_steps(self) -> u64 {
        match self {
            Network::Dm1 | Network::Dm2 => 600,
            Network::C1 | Network::C2 => 300,
            Network::C3 => 20,
        }
    }

    /// The report's training; quick: fewer updates, of 32 images, on a part of the data.
    pub fn config(self, context: &Context) -> Result<Config> {
        let mut settings = vec![
            format!("data.source={:?}", context.source(self.data())?),
            format!("train.seed={}", context.settings().seed),
        ];
        if context.settings().quick {
            let steps = self.quick_steps();
            settings.extend([
                "data.limit=5000".into(),
                "train.batch_size=32".into(),
                format!("train.steps={steps}"),
                format!("train.validate_every={}", (steps / 5).max(1)),
                "sample.steps=50".into(),
            ]);
        }
        let set = if self.data() == Need::Mnist { "mnist" } else { "cifar" };
        Ok(presets::get(&format!("{set}-{}", self.stem()))?.with_settings(&settings)?)
    }
}
