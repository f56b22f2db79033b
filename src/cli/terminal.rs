//! Output to the terminal.

use super::weights::WeightsArgs;
use crate::Error;
use crate::engine::device::Device;
use crate::train::ModelFile;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use terminal_size::{Width, terminal_size_of};

/// Prints a line. Nobody may be listening any more (`| head`): no reason to fail.
pub fn say(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// Width of a bar where there is room.
const BAR_COLUMNS: usize = 28;
/// Width below which a bar shows nothing.
const LEAST_BAR_COLUMNS: usize = 4;
/// Width of a terminal that does not tell its own.
const COLUMNS: usize = 80;
/// Room for the text beside a bar that counts: twice seven digits, a word and a time.
pub const COUNT_COLUMNS: usize = 40;

/// A bar that counts `what`; whoever advances it sets its length.
pub fn bar(what: &str) -> ProgressBar {
    let style = bar_style("", &format!("{{pos}}/{{len}} {what}  {{eta}} left"), bar_columns(columns(), COUNT_COLUMNS));
    ProgressBar::with_draw_target(None, draw_target(5)).with_style(style)
}

/// True where a line can be drawn again and again: on a terminal that moves its cursor.
pub fn draws_bars() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Standard error, if it draws bars.
pub fn draw_target(times_a_second: u8) -> ProgressDrawTarget {
    if draws_bars() { ProgressDrawTarget::stderr_with_hz(times_a_second) } else { ProgressDrawTarget::hidden() }
}

/// Columns of the terminal.
pub fn columns() -> usize {
    terminal_size_of(stderr()).map_or(COLUMNS, |(Width(columns), _)| columns.into())
}

/// Width of a bar beside so many columns of text: the bar gives way before the text does. 0 where it would show nothing.
pub fn bar_columns(columns: usize, text: usize) -> usize {
    let left = columns.saturating_sub(text + 2);
    if left < LEAST_BAR_COLUMNS { 0 } else { left.min(BAR_COLUMNS) }
}

/// A bar of this width between two texts, which are templates.
pub fn bar_style(before: &str, after: &str, width: usize) -> ProgressStyle {
    let bar = if width == 0 { String::new() } else { format!("{{bar:{width}.cyan/blue}} ") };
    let style = ProgressStyle::with_template(&format!("{before}{bar}{after}"));
    style.expect("the template is well formed").progress_chars("━╸─")
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
pub fn open_model(path: &Path, weights: &WeightsArgs, settings: &[String]) -> Result<ModelFile> {
    let model = weights.open(path, |path, which| ModelFile::open_with(path, which, settings))?;
    model.notes.iter().for_each(|note| eprintln!("note: {note}"));
    Ok(model)
}

/// The contexts of an error and the error itself, whose message includes its own causes.
pub fn in_words(error: &anyhow::Error) -> String {
    let own = error.chain().position(|cause| cause.is::<Error>()).unwrap_or(usize::MAX);
    error.chain().take(own.saturating_add(1)).map(|cause| cause.to_string()).collect::<Vec<_>>().join(": ")
}

/// Exit code of a program that ends with an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Error::Config(_) | Error::Shape { .. } | Error::SampleNotFinite { .. }) => 2,
        Some(Error::Stopped) => 130,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_gives_way_before_the_text_does() {
        assert_eq!([200, 80, 60, 50, 44, 40].map(|columns| bar_columns(columns, 40)), [28, 28, 18, 8, 0, 0]);
    }

    #[test]
    fn an_error_is_shown_once_with_its_contexts() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::from(Error::io("weights.npz")(missing)).context("--reference");
        assert_eq!(in_words(&error), "--reference: weights.npz: no such file");
        assert_eq!(in_words(&anyhow::anyhow!("cause").context("context")), "context: cause");
        assert!(matches!(error.downcast_ref(), Some(Error::Io { .. })), "the exit code is that of the error within");
    }
}
