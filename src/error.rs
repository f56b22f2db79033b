//! Errors in the user's words: each message names the expected and the found value.

use std::path::PathBuf;

/// Every error of this library. A mistake of the user is one of these; a panic is a bug.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that is unknown, impossible, or contradicts another one.
    #[error("{0}")]
    Config(String),
    /// A file or folder that cannot be read or written.
    #[error("{}: {source}", in_one_line(&path.to_string_lossy()))]
    Io { path: PathBuf, source: std::io::Error },
    /// A file that was read but does not hold what it should.
    #[error("{}: {}", in_one_line(&path.to_string_lossy()), in_one_line(reason))]
    Format { path: PathBuf, reason: String },
    /// Tensors whose shapes or types do not fit an operation.
    #[error("{op}: {reason}")]
    Shape { op: &'static str, reason: String },
    /// A device that is missing or failed.
    #[error("device {device}: {reason}")]
    Device { device: String, reason: String },
    /// More memory than the device has left.
    #[error("device {device}: out of memory: {wanted_bytes} bytes wanted, {free_bytes} of {total_bytes} free{advice}")]
    OutOfMemory {
        device: String,
        wanted_bytes: u64,
        free_bytes: u64,
        total_bytes: u64,
        /// A setting that would fit, if one is known: `; train.batch_size = 8 fits`.
        advice: String,
    },
    /// A launch of more blocks than a GPU takes: too many images at once.
    #[error("{op}: {blocks} blocks along {axis} of a grid, which takes {most}{advice}")]
    Grid {
        op: &'static str,
        axis: char,
        blocks: u32,
        most: u32,
        /// As for [`Error::OutOfMemory`].
        advice: String,
    },
    /// The user wanted to stop before the end.
    #[error("stopped; what was done is kept")]
    Stopped,
    /// A sample that is infinite or not a number.
    #[error("sample {sample} is not finite: the weights are not those of a trained model")]
    SampleNotFinite { sample: usize },
    /// A loss or gradient that is infinite or not a number.
    #[error("step {step}: {what} is not finite; first produced by {op}")]
    NonFinite { step: u64, what: String, op: String },
    /// An error of another process of the job, which cannot be had here but in words.
    #[error("rank {rank}: {text}")]
    Rank { rank: usize, text: String },
    /// An error of another process of the job, which rank 0 reports.
    #[error("another rank failed")]
    Elsewhere,
}

impl Error {
    /// An I/O error that remembers which path it concerns.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// Something that a device refused or got wrong.
    pub fn device(device: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Device { device: device.into(), reason: reason.into() }
    }

    /// A file that holds something else than was wanted.
    pub fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Error {
        Error::Format { path: path.into(), reason: reason.into() }
    }
}

/// Letters that are shown of the beginning and of the end of a text that is longer than both.
const SHOWN: [usize; 2] = [500, 300];

/// Names of files, which messages quote, may hold line breaks and codes that a terminal obeys: these are shown as escapes.
/// Of a parser's message that quotes a whole header the middle is left out.
fn in_one_line(text: &str) -> String {
    let [first, last] = SHOWN;
    let count = text.chars().count();
    let mut line = String::with_capacity(text.len());
    for (i, letter) in text.chars().enumerate() {
        match i {
            _ if count > first + last && (first..count - last).contains(&i) => {
                if i == first {
                    line.push_str(" ... ");
                }
            }
            _ if letter.is_control() => line.extend(letter.escape_default()),
            _ => line.push(letter),
        }
    }
    line
}

/// The library's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_in_their_line_whatever_files_are_called() {
        let error = Error::format("set\n.zip", "no label for a\r\u{1b}[2J.png");
        assert_eq!(error.to_string(), r"set\n.zip: no label for a\r\u{1b}[2J.png");
        let error = Error::format("x", format!("begins {} ends", "quoted ".repeat(5000))).to_string();
        assert!(error.starts_with("x: begins quoted") && error.ends_with(" quoted  ends"), "{error}");
        assert_eq!(error.chars().count(), 3 + 500 + 5 + 300);
        let error = Error::io("a\tb/größer")(std::io::ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), r"a\tb/größer: entity not found");
    }
}
