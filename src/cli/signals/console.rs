//! Ctrl-C in a console, where there are no signals.

use super::STOPPING;
use crate::{Error, Result};
use std::io::{Write, stderr};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a program that Ctrl-C ended, as a shell of Unix gives it.
const INTERRUPTED: u8 = 130;

/// The wish to end, raised by Ctrl-C.
pub struct Stop {
    /// True after the first Ctrl-C.
    pub flag: Arc<AtomicBool>,
}

impl Stop {
    /// Raises the flag at the first Ctrl-C; the second ends the program at once.
    ///
    /// # Errors
    /// A system that does not let Ctrl-C be handled.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop { flag: Arc::default() };
        let flag = stop.flag.clone();
        let handler = move || {
            if flag.swap(true, Ordering::Relaxed) {
                process::exit(INTERRUPTED.into());
            }
            // Nobody may be listening any more.
            let _ = writeln!(stderr(), "{STOPPING}");
        };
        ctrlc::set_handler(handler).map_err(|e| Error::Config(format!("Ctrl-C cannot be handled: {e}")))?;
        Ok(stop)
    }

    /// Exit code of a program that was stopped.
    pub fn exit_code(&self) -> u8 {
        INTERRUPTED
    }
}
