//! The networks of the paper, and how they are trained.

use crate::diffusion::PredictionTarget;
use crate::experiment::context::Context;
use crate::experiment::settings::Need;
use crate::train::{Config, presets};
use anyhow::Result;

/// A network of the paper, trained once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Network {
    X0,
    Epsilon,
    /// Predicts the score itself, as the paper.
    Score,
    /// Predicts the score times `-sigma`.
    ScoreScaled,
    /// Predicts ε and the variance of a reverse step.
    Learned,
    /// Predicts the score times `-sigma`, with labels.
    Conditional,
}

/// The classes of the paper.
pub(super) const CLASSES: usize = 3;

impl Network {
    /// The name in tables and captions.
    pub fn name(self) -> &'static str {
        match self {
            Network::X0 => "x0",
            Network::Epsilon => "ε",
            Network::Score => "score",
            Network::ScoreScaled => "score, scaled head",
            Network::Learned => "ε, learned variance",
            Network::Conditional => "score, scaled head, conditional",
        }
    }

    fn target(self) -> PredictionTarget {
        match self {
            Network::X0 => PredictionTarget::X0,
            Network::Epsilon | Network::Learned => PredictionTarget::Epsilon,
            Network::Score => PredictionTarget::Score,
            Network::ScoreScaled | Network::Conditional => PredictionTarget::ScoreScaled,
        }
    }

    /// The paper's training; quick: a network of a hundredth of the size, on images of 16x16.
    pub fn config(self, context: &Context) -> Result<Config> {
        let mut settings = vec![
            format!("data.source={:?}", context.source(Need::Mnist)?),
            format!("train.seed={}", context.settings().seed),
            "sample.clip_x0=false".into(),
        ];
        if context.settings().quick {
            let quick = [
                "model.image_size=16",
                "model.channels=[32, 64]",
                "model.layers_per_level=1",
                "model.groups=8",
                "train.steps=2000",
                "train.learning_rate=5e-4",
                "train.ema_decay=0.995",
                "train.clip_norm=1.0",
                "sample.steps=50",
            ];
            settings.extend(quick.map(String::from));
        }
        let preset = match self {
            Network::Learned => "mnist-123-learned",
            Network::Conditional => "mnist-123-conditional",
            _ => "mnist-123",
        };
        if self == Network::Conditional {
            settings.push("sample.guidance=1.0".into());
        }
        let mut config = presets::get(preset)?.with_settings(&settings)?;
        config.diffusion.target = self.target();
        Ok(config)
    }
}
