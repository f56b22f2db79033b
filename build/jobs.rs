//! Compilations: in parallel, and only those whose command or inputs changed.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// One compiler call that makes one file.
pub struct Job {
    /// What is compiled, for messages.
    pub name: String,
    pub command: Command,
    /// Every file that the result depends on, the source last.
    pub inputs: Vec<PathBuf>,
    pub output: PathBuf,
}

/// Runs the jobs and returns what each compiler wrote to stderr, now or when the output was made.
pub fn run(jobs: Vec<Job>) -> Result<Vec<String>, String> {
    let workers = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize);
    let count = jobs.len();
    // The largest sources first, so that no long compilation starts when the others are done.
    let mut jobs: Vec<(usize, Job)> = jobs.into_iter().enumerate().collect();
    jobs.sort_by_key(|(_, job)| {
        std::cmp::Reverse(job.inputs.last().and_then(|source| fs::metadata(source).ok()).map(|m| m.len()))
    });
    let queue = Mutex::new(jobs.into_iter());
    let logs = Mutex::new(vec![Ok(String::new()); count]);
    let take = || queue.lock().expect("no worker panics").next();
    std::thread::scope(|scope| {
        for _ in 0..workers.min(count) {
            scope.spawn(|| {
                while let Some((i, job)) = take() {
                    let log = run_one(job);
                    logs.lock().expect("no worker panics")[i] = log;
                }
            });
        }
    });
    logs.into_inner().expect("no worker panics").into_iter().collect()
}

fn run_one(mut job: Job) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", job.command).hash(&mut hasher);
    for input in &job.inputs {
        fs::read(input).map_err(|e| format!("{}: {e}", input.display()))?.hash(&mut hasher);
    }
    // The log's first line is the key; it is written last, so it stands only beside a finished output.
    let key = format!("{:016x}\n", hasher.finish());
    let log_path = job.output.with_extension("log");
    if job.output.exists()
        && let Ok(log) = fs::read_to_string(&log_path)
        && let Some(log) = log.strip_prefix(&key)
    {
        return Ok(log.into());
    }
    let _ = fs::remove_file(&log_path);
    let result = job.command.output().map_err(|e| format!("{:?}: {e}", job.command.get_program()))?;
    let log = String::from_utf8_lossy(&result.stderr).into_owned();
    if !result.status.success() {
        return Err(format!("{} does not compile\n{log}", job.name));
    }
    fs::write(&log_path, key + &log).map_err(|e| format!("{}: {e}", log_path.display()))?;
    Ok(log)
}
