//! Compilations: in parallel, and only those whose command or inputs changed.
//!
//! Results lie in the build script's own folder. A copy of each stands in a folder that all build scripts of a target
//! folder share: cargo gives a package one folder for each set of features, and kernels do not depend on features.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// One compiler call that makes one file.
pub struct Job {
    /// Name for messages.
    pub name: String,
    /// Command without the output, which is appended as `-o FILE`.
    pub command: Command,
    /// Every file that the result depends on, the source last.
    pub inputs: Vec<PathBuf>,
    /// File to make, below `OUT_DIR`.
    pub output: PathBuf,
}

/// Runs the jobs. Returns the text that each compiler wrote to stderr when it made the output, now or earlier.
///
/// # Errors
/// The first job, in their order, that does not compile, with the compiler's text.
pub fn run(jobs: Vec<Job>) -> Result<Vec<String>, String> {
    let workers = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    run_in(Path::new(&crate::cargo_env("OUT_DIR")), jobs, workers)
}

fn run_in(out: &Path, jobs: Vec<Job>, workers: usize) -> Result<Vec<String>, String> {
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
                    let log = run_one(out, job);
                    logs.lock().expect("no worker panics")[i] = log;
                }
            });
        }
    });
    logs.into_inner().expect("no worker panics").into_iter().collect()
}

fn run_one(out: &Path, job: Job) -> Result<String, String> {
    let key = key(&job)?;
    if let Some(log) = log_of(&job.output, &key) {
        return Ok(log);
    }
    let shared = shared_place(out, &job.output)?;
    // Build scripts of two crates may want the same file at the same time: the second waits, and copies it.
    let lock_path = shared.with_extension("lock");
    let lock = File::create(&lock_path).map_err(in_file(&lock_path))?;
    lock.lock().map_err(in_file(&lock_path))?;
    let log = match log_of(&shared, &key) {
        Some(log) => log,
        None => compile(job.command, &job.name, &shared, &key)?,
    };
    fs::copy(&shared, &job.output).map_err(in_file(&job.output))?;
    write_log(&job.output, &key, &log)?;
    Ok(log)
}

/// Hashes all that the output depends on but its place.
fn key(job: &Job) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", job.command).hash(&mut hasher);
    for input in &job.inputs {
        fs::read(input).map_err(in_file(input))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn compile(mut command: Command, name: &str, output: &Path, key: &str) -> Result<String, String> {
    let _ = fs::remove_file(output.with_extension("log"));
    let result = command.arg("-o").arg(output).output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    let log = String::from_utf8_lossy(&result.stderr).into_owned();
    if !result.status.success() {
        return Err(format!("{name} does not compile\n{log}"));
    }
    write_log(output, key, &log)?;
    Ok(log)
}

/// Reads the log of a finished output, if it was made from the same command and inputs.
fn log_of(output: &Path, key: &str) -> Option<String> {
    let log = fs::read_to_string(output.with_extension("log")).ok()?;
    log.strip_prefix(key).filter(|_| output.exists()).map(String::from)
}

/// Writes the log, whose first line is the key. It comes last, so it stands only beside a finished output.
fn write_log(output: &Path, key: &str, log: &str) -> Result<(), String> {
    let path = output.with_extension("log");
    fs::write(&path, format!("{key}{log}")).map_err(in_file(&path))
}

/// The place of an output in the folder that all build scripts share, which is made if it is not there.
fn shared_place(out: &Path, output: &Path) -> Result<PathBuf, String> {
    let place = output.strip_prefix(out).map_err(|_| format!("{} lies outside OUT_DIR", output.display()))?;
    // OUT_DIR is build/PACKAGE-HASH/out.
    let shared = out.ancestors().nth(2).unwrap_or(out).join("compiled-kernels").join(place);
    let folder = shared.parent().expect("it has a file's name");
    fs::create_dir_all(folder).map_err(in_file(folder))?;
    Ok(shared)
}

fn in_file(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an input file, and a compiler that copies it to the output and counts its calls.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new(text: &str) -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            place.write(text);
            place
        }

        fn input(&self) -> PathBuf {
            self.0.path().join("kernel.cu")
        }

        fn write(&self, text: &str) {
            fs::write(self.input(), text).unwrap();
        }

        fn out(&self, package: &str) -> PathBuf {
            let out = self.0.path().join("build").join(package).join("out");
            fs::create_dir_all(&out).unwrap();
            out
        }

        /// Runs a job of a package: its log, or the error.
        fn run(&self, package: &str) -> Result<String, String> {
            let (input, out) = (self.input(), self.out(package));
            let calls = self.0.path().join("calls");
            let script =
                format!("echo call >>{}; echo note >&2; grep -v fault {} >\"$2\"", calls.display(), input.display());
            let mut command = Command::new("sh");
            command.args(["-c", &script, "compiler"]);
            let job = Job { name: "kernel.cu".into(), command, inputs: vec![input], output: out.join("kernel.o") };
            Ok(run_in(&out, vec![job], 2)?.concat())
        }

        fn calls(&self) -> usize {
            fs::read_to_string(self.0.path().join("calls")).unwrap_or_default().lines().count()
        }

        fn made(&self, package: &str) -> String {
            fs::read_to_string(self.out(package).join("kernel.o")).unwrap()
        }
    }

    #[test]
    fn an_input_is_compiled_once_until_it_changes() {
        let place = Place::new("one");
        for _ in 0..2 {
            assert_eq!(place.run("a"), Ok("note\n".into()));
        }
        assert_eq!((place.calls(), place.made("a").as_str()), (1, "one\n"));
        place.write("two");
        place.run("a").unwrap();
        assert_eq!((place.calls(), place.made("a").as_str()), (2, "two\n"));
    }

    #[test]
    fn another_build_script_copies_what_the_first_has_compiled() {
        let place = Place::new("one");
        place.run("a").unwrap();
        assert_eq!(place.run("b"), Ok("note\n".into()));
        assert_eq!((place.calls(), place.made("b").as_str()), (1, "one\n"));
        // The first keeps its own when the shared copy is another's.
        place.write("two");
        place.run("b").unwrap();
        place.write("one");
        place.run("a").unwrap();
        assert_eq!((place.calls(), place.made("a").as_str()), (2, "one\n"));
    }

    #[test]
    fn what_does_not_compile_is_an_error_every_time() {
        let place = Place::new("fault");
        for _ in 0..2 {
            assert_eq!(place.run("a"), Err("kernel.cu does not compile\nnote\n".into()));
        }
        assert_eq!(place.calls(), 2);
    }
}
