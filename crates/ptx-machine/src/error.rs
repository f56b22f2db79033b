//! Errors of a text that is not understood, and faults of a kernel that runs.

use crate::races::Race;
use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// Says what is wrong with a PTX text or a launch, or how a kernel failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A statement that cannot be read, or an instruction that this machine does not execute.
    Text { file: String, line: u32, reason: String },
    /// A launch that does not fit the kernel, or memory that is not there.
    Launch(String),
    /// A kernel did what ends it on hardware as well.
    Fault(Box<Fault>),
    /// Nothing orders two accesses of a kernel; found where [`crate::Options::races`] asks for it.
    Race(Box<Race>),
}

/// Describes where a kernel failed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kernel: String,
    pub block: [u32; 3],
    pub warp: u32,
    /// The lane, where one lane alone is at fault.
    pub lane: Option<u32>,
    /// File and line of the CUDA source, where the text has been compiled with `-lineinfo`.
    pub source: Option<(String, u32)>,
    pub ptx_line: u32,
    pub opcode: String,
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Text { file, line, reason } => write!(f, "{file}:{line}: {reason}"),
            Error::Launch(reason) => f.write_str(reason),
            Error::Fault(fault) => fault.fmt(f),
            Error::Race(race) => race.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some((file, line)) = &self.source {
            write!(f, "{file}:{line}: ")?;
        }
        let [x, y, z] = self.block;
        write!(f, "{} in block ({x}, {y}, {z}), warp {}", self.reason, self.warp)?;
        if let Some(lane) = self.lane {
            write!(f, ", lane {lane}")?;
        }
        write!(f, ", at `{}` (PTX line {}) of {}", self.opcode, self.ptx_line, self.kernel)
    }
}

impl std::error::Error for Error {}
