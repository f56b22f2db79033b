//! Finding the ranks of this process's job.

use super::Ranks;
use super::launcher::{Launched, launched};
#[cfg(not(feature = "mpi"))]
use crate::Error;
use crate::Result;
use std::env;

/// Connects this process with the others that its launcher started. `report` receives the reason before a rank ends the job
/// from a thread of its own.
///
/// # Errors
/// Several processes and a program that cannot connect them: built without MPI, or for another MPI than the launcher's.
pub fn open(report: fn(&str)) -> Result<Ranks> {
    let variable = |name: &str| env::var(name).ok();
    connect(launched(variable), report)
}

#[cfg(feature = "mpi")]
fn connect(launched: Option<Launched>, report: fn(&str)) -> Result<Ranks> {
    use super::{launcher, mpi};
    if !launcher::is_launched(|name| env::var(name).ok()) {
        return Ok(Ranks::alone());
    }
    mpi::open(launched, report)
}

#[cfg(not(feature = "mpi"))]
fn connect(launched: Option<Launched>, _report: fn(&str)) -> Result<Ranks> {
    match launched {
        Some(launched) if launched.size > 1 => Err(Error::Config(format!(
            "{launched}, but this build knows no MPI: cargo build --release --features mpi (docs/many-gpus.md)"
        ))),
        _ => Ok(Ranks::alone()),
    }
}
