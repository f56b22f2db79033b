//! Signals of Unix that end a run.

use super::STOPPING;
use crate::{Error, Result};
use nix::sys::signal::{SigSet, Signal};
use std::fs;
use std::io::{Write, stderr};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

/// The wish to end, raised by a signal.
pub struct Stop {
    /// True after the first signal.
    pub flag: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Stop {
    /// Raises the flag at the first signal; the second ends the program at once. A hang-up counts unless the program was
    /// started to outlive it, as by `nohup`. Threads that run already are not protected: call it before any is made.
    ///
    /// # Errors
    /// A system that does not let signals be handled.
    pub fn on_signals() -> Result<Stop> {
        let mut signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        if !hangup_is_ignored() {
            signals.add(Signal::SIGHUP);
        }
        // Threads inherit the block, so that the signals wait for the thread that asks for them.
        signals.thread_block().map_err(|e| Error::Config(format!("signals cannot be handled: {e}")))?;
        let stop = Stop { flag: Arc::default(), signal: Arc::new(AtomicI32::new(Signal::SIGINT as i32)) };
        let (flag, signal) = (stop.flag.clone(), stop.signal.clone());
        thread::spawn(move || {
            while let Ok(arrived) = signals.wait() {
                signal.store(arrived as i32, Ordering::Relaxed);
                if flag.swap(true, Ordering::Relaxed) {
                    process::exit(128 + arrived as i32);
                }
                // Nobody may be listening any more, least of all after a hang-up.
                let _ = writeln!(stderr(), "{STOPPING}");
            }
        });
        Ok(stop)
    }

    /// Exit code of a program that a signal ended: 130 for Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal.load(Ordering::Relaxed) as u8
    }
}

/// Returns true if hang-ups were ignored when the program started, or if the system cannot tell: they do then what they
/// did without this module.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask >> (Signal::SIGHUP as i32 - 1) & 1 == 1)
}
