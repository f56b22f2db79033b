//! The prediction targets of Kumar's thesis.

use crate::diffusion::PredictionTarget;

/// The targets with their names in plots.
pub(super) const TARGETS: [(&str, PredictionTarget); 4] = [
    (name(PredictionTarget::X0), PredictionTarget::X0),
    (name(PredictionTarget::Epsilon), PredictionTarget::Epsilon),
    (name(PredictionTarget::V), PredictionTarget::V),
    (name(PredictionTarget::Score), PredictionTarget::Score),
];

/// A value for each target of the thesis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PerTarget<T> {
    pub x: T,
    pub eps: T,
    pub v: T,
    pub score: T,
}

impl<T> PerTarget<T> {
    /// Computes the value of each target, in the order of [`TARGETS`].
    pub fn try_from_fn<E>(mut f: impl FnMut(PredictionTarget) -> Result<T, E>) -> Result<PerTarget<T>, E> {
        use PredictionTarget::{Epsilon, Score, V, X0};
        Ok(PerTarget { x: f(X0)?, eps: f(Epsilon)?, v: f(V)?, score: f(Score)? })
    }

    /// The values, in the order of [`TARGETS`].
    pub fn all(&self) -> [&T; 4] {
        [&self.x, &self.eps, &self.v, &self.score]
    }

    /// Applies a function to each value.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> PerTarget<U> {
        PerTarget { x: f(&self.x), eps: f(&self.eps), v: f(&self.v), score: f(&self.score) }
    }

    /// `name value` of each target, separated by commas.
    pub fn list(&self, show: impl Fn(&T) -> String) -> String {
        let parts = TARGETS.iter().zip(self.all()).map(|((name, _), value)| format!("{name} {}", show(value)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The name of a target in plots.
pub(super) const fn name(target: PredictionTarget) -> &'static str {
    match target {
        PredictionTarget::X0 => "x",
        PredictionTarget::Epsilon => "ε",
        PredictionTarget::V => "v",
        PredictionTarget::Score => "score",
        PredictionTarget::ScoreScaled => "scaled score",
        PredictionTarget::Mu => "μ",
    }
}
