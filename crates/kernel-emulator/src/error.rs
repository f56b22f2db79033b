//! The crate's errors.

use std::fmt;

/// Result of the emulator's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An allocation that does not fit.
    OutOfMemory {
        /// Bytes requested.
        wanted_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
        /// Bytes of memory in all.
        total_bytes: u64,
    },
    /// Any other error, in words.
    Failed(String),
}

impl Error {
    pub(crate) fn failed(reason: impl Into<String>) -> Error {
        Error::Failed(reason.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::OutOfMemory { wanted_bytes, free_bytes, total_bytes } => {
                write!(f, "out of memory: {wanted_bytes} bytes wanted, {free_bytes} of {total_bytes} free")
            }
            Error::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}
