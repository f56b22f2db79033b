//! Output to the terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{Write, stdout};

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

/// Bytes for people.
pub fn megabytes(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 10.0 => format!("{mb:.1} MB"),
        mb if mb < 10_000.0 => format!("{mb:.0} MB"),
        mb => format!("{:.1} GB", mb / 1e3),
    }
}
