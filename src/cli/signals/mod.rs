//! The wish to end that reaches a program from outside: Ctrl-C everywhere; on Unix also the request of a scheduler
//! (`SIGTERM`) and the end of the session (`SIGHUP`).

#[cfg(not(unix))]
mod console;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub use console::Stop;
#[cfg(unix)]
pub use unix::Stop;

/// Notice after the first of them.
const STOPPING: &str = "\nstopping after this step, with a checkpoint (a second time: at once)";
