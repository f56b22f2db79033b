//! Output to the terminal.

use crate::Error;
use crate::engine::device::Device;
use crate::train::{ModelFile, Which};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{Write, stdout};
use std::path::Path;

/// Prints a line. Nobody may be listening any more (`| head`): no reason to fail.
pub fn say(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// A bar that counts `what`; whoever advances it sets its length.
pub fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:28.cyan/blue}} {{pos}}/{{len}} {what}  {{eta}} left"));
    let style = style.expect("the template is well formed").progress_chars("━╸─");
    ProgressBar::no_length().with_style(style)
}

/// Bytes in words: `0.4 MB`, `143 MB`, `12.3 GB`.
pub fn megabytes(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 10.0 => format!("{mb:.1} MB"),
        mb if mb < 10_000.0 => format!("{mb:.0} MB"),
        mb => format!("{:.1} GB", mb / 1e3),
    }
}

/// Opens a device by its name, and prints the note that comes with an automatic choice.
///
/// # Errors
/// An unknown name, or a device that is not there.
pub fn open_device(spec: &str) -> Result<Device> {
    let (device, note) = Device::open(spec)?;
    if !note.is_empty() {
        eprintln!("{note}");
    }
    Ok(device)
}

/// Opens a model with these settings, and prints the notes on what was assumed or ignored.
///
/// # Errors
/// As [`ModelFile::open_with`].
pub fn open_model(path: &Path, raw: bool, settings: &[String]) -> Result<ModelFile> {
    let model = ModelFile::open_with(path, Which::new(raw), settings)?;
    model.notes.iter().for_each(|note| eprintln!("note: {note}"));
    Ok(model)
}

/// The contexts of an error and the error itself, whose message includes its own causes.
pub fn in_words(error: &anyhow::Error) -> String {
    let own = error.chain().position(|cause| cause.is::<Error>()).unwrap_or(usize::MAX);
    error.chain().take(own.saturating_add(1)).map(|cause| cause.to_string()).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_once_with_its_contexts() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::from(Error::io("weights.npz")(missing)).context("--reference");
        assert_eq!(in_words(&error), "--reference: weights.npz: no such file");
        assert_eq!(in_words(&anyhow::anyhow!("cause").context("context")), "context: cause");
        assert!(matches!(error.downcast_ref(), Some(Error::Io { .. })), "the exit code is that of the error within");
    }
}
