//! Starting other programs, and ending them in time.

use crate::stages::Ending;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// Waits for a process until a moment; none if it still runs then.
fn wait_until(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        sleep(POLL);
    }
}

/// Runs a command as the leader of a process group. When its time is over, or `is_interrupted` says so, the group is asked
/// to end, and killed five seconds later.
pub fn run_group(command: &mut Command, allowed: Duration, is_interrupted: impl Fn() -> bool) -> io::Result<Ending> {
    const GRACE: Duration = Duration::from_secs(5);
    let mut child = command.process_group(0).spawn()?;
    let end = Instant::now() + allowed;
    while Instant::now() < end && !is_interrupted() {
        if let Some(status) = wait_until(&mut child, Instant::now() + POLL)? {
            return Ok(Ending::Exit(status.code()));
        }
    }
    // The group may be gone by now, which is as good.
    let _ = killpg(pid(&child), Signal::SIGTERM);
    let leader_ended = wait_until(&mut child, Instant::now() + GRACE)?.is_some();
    let _ = killpg(pid(&child), Signal::SIGKILL);
    if !leader_ended {
        child.wait()?;
    }
    Ok(Ending::OutOfTime)
}

/// Runs a command, and interrupts it as Ctrl-C does when its time is over. Returns its exit status, and whether it was
/// interrupted.
pub fn run_interrupted(command: &mut Command, allowed: Duration) -> io::Result<(ExitStatus, bool)> {
    let mut child = command.spawn()?;
    if let Some(status) = wait_until(&mut child, Instant::now() + allowed)? {
        return Ok((status, false));
    }
    let _ = kill(pid(&child), Signal::SIGINT);
    Ok((child.wait()?, true))
}

/// The streams of a command to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Standard output; errors go where this program's go.
    Output,
    /// Standard output and errors, as they come.
    Both,
}

/// Runs a command, prints what it writes while it runs, and returns its exit status and the text.
pub fn run_read(command: &mut Command, streams: Streams) -> io::Result<(ExitStatus, String)> {
    run_read_within(command, streams, Duration::MAX)
}

/// The same, but kills the command when its time is over.
pub fn run_read_within(command: &mut Command, streams: Streams, allowed: Duration) -> io::Result<(ExitStatus, String)> {
    let (reader, writer) = io::pipe()?;
    if streams == Streams::Both {
        command.stderr(writer.try_clone()?);
    }
    let mut child = command.stdin(Stdio::null()).stdout(writer).spawn()?;
    // The command holds the pipe's other end until it is told to use another.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let (ended, end) = channel::<()>();
    let process = pid(&child);
    let watch = spawn(move || {
        if end.recv_timeout(allowed) == Err(RecvTimeoutError::Timeout) {
            // It may have ended in this moment, which is as good.
            let _ = kill(process, Signal::SIGKILL);
        }
    });
    let mut text = String::new();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader);
    while reader.by_ref().read_until(b'\n', &mut line)? > 0 {
        let part = String::from_utf8_lossy(&line);
        print!("{part}");
        text += &part;
        line.clear();
    }
    // Before the process is waited for: until then its number is its own.
    drop(ended);
    watch.join().expect("it does not panic");
    Ok((child.wait()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_group_that_ends_by_itself_gives_its_status() {
        let run = |script| run_group(&mut shell(script), LONG, || false).unwrap();
        assert_eq!(run("exit 77"), Ending::Exit(Some(77)));
        assert_eq!(run("kill -9 $$"), Ending::Exit(None));
    }

    #[test]
    fn a_group_whose_time_is_over_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alive");
        let script = format!("(trap '' TERM; sleep 2; touch {}) & sleep 60", file.display());
        let begin = Instant::now();
        let ending = run_group(&mut shell(&script), Duration::from_millis(300), || false).unwrap();
        assert_eq!(ending, Ending::OutOfTime);
        assert!(begin.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_secs(3));
        assert!(!file.exists(), "a process of the group lived on");
    }

    #[test]
    fn an_interruption_ends_the_group() {
        let ending = run_group(&mut shell("sleep 60"), LONG, || true).unwrap();
        assert_eq!(ending, Ending::OutOfTime);
    }

    #[test]
    fn a_command_may_end_well_when_it_is_interrupted() {
        let (status, interrupted) = run_interrupted(
            &mut shell("trap 'exit 3' INT; for i in $(seq 200); do sleep 0.1 & wait; done"),
            Duration::from_millis(300),
        )
        .unwrap();
        assert_eq!((status.code(), interrupted), (Some(3), true));
        let (status, interrupted) = run_interrupted(&mut shell("exit 0"), LONG).unwrap();
        assert!(status.success() && !interrupted);
    }

    #[test]
    fn a_command_that_is_read_is_killed_when_its_time_is_over() {
        let run = |script| run_read_within(&mut shell(script), Streams::Output, Duration::from_millis(500)).unwrap();
        let begin = Instant::now();
        let (status, text) = run("echo before; exec sleep 60");
        assert_eq!((status.code(), text.as_str()), (None, "before\n"));
        assert!(begin.elapsed() < LONG);
        assert!(run("exit 0").0.success());
    }

    #[test]
    fn both_streams_are_read_or_one() {
        let script = "echo out; echo err >&2";
        assert_eq!(run_read(&mut shell(script), Streams::Both).unwrap().1, "out\nerr\n");
        assert_eq!(run_read(&mut shell(script), Streams::Output).unwrap().1, "out\n");
    }
}
