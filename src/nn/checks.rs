//! Checks of settings that several networks have.

use crate::{Error, Result};

/// Checks that no setting is below its least value: `(name, value, least)` each.
pub(super) fn at_least(settings: &[(&str, usize, usize)]) -> Result<()> {
    match settings.iter().find(|(_, value, least)| value < least) {
        Some((name, _, least)) => Err(Error::Config(format!("model.{name} must be at least {least}"))),
        None => Ok(()),
    }
}

/// Checks that the setting `name`, a number of groups or heads, divides all these channels.
pub(super) fn divides(name: &str, value: usize, channels: impl IntoIterator<Item = usize>) -> Result<()> {
    match channels.into_iter().find(|c| !c.is_multiple_of(value)) {
        Some(c) => Err(Error::Config(format!("model.{name} = {value} does not divide {c} channels"))),
        None => Ok(()),
    }
}

/// Checks a probability of dropout.
pub(super) fn dropout(p: f32) -> Result<()> {
    if (0.0..1.0).contains(&p) { Ok(()) } else { Err(Error::Config(format!("model.dropout = {p} is not in [0, 1)"))) }
}

/// Checks the number that a norm adds to the variance.
pub(super) fn norm_eps(eps: f32) -> Result<()> {
    if eps > 0.0 && eps.is_finite() {
        return Ok(());
    }
    Err(Error::Config(format!("model.norm_eps = {eps} must be positive")))
}
