//! Runs that are stopped, begun twice, or damaged: nothing is lost, and they go on to the same bits.

#![cfg(unix)]

use ddpm::train::checkpoint::{self, Checkpoint};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tiny::{ddpm, result, run_in, tiny_args, train};

mod tiny;

/// Starts a run that goes on until it is stopped.
fn start(mut command: Command, out: &Path, more: &[&str]) -> Child {
    command.args(tiny_args(out)).args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin("ddpm"))
}

/// Waits until a run has logged so many steps.
fn wait_for_steps(run: &Path, steps: usize) {
    while !fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() >= steps) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the program and returns what it prints to standard error.
fn fails(args: &[&str], code: i32) -> String {
    let assert = ddpm().args(args).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn checkpoints(run: &Path) -> Vec<PathBuf> {
    checkpoint::list(&run.join("checkpoints")).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// Settings of a run long enough to be stopped in the middle.
const LONG: [&str; 6] = ["--set", "train.steps=400", "--set", "train.checkpoint_every=0", "--set", "sample.n=0"];

#[test]
fn a_stopped_run_writes_a_checkpoint_and_resumes_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = run_in(&folder, "whole");
    train(&whole, &LONG);
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let stopped = run_in(&folder, signal);
        let child = start(program(), &stopped, &LONG);
        wait_for_steps(&stopped, 4);
        kill(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}: {}", stderr(&output));
        assert!(stderr(&output).contains("stopping after this step"), "{signal}: {}", stderr(&output));
        assert_eq!(checkpoints(&stopped).len(), 1, "{signal}");
        train(&stopped, &[&LONG[..], &["--resume"]].concat());
        assert!(result(&whole, 400) == result(&stopped, 400), "{signal}: the resumed run differs");
    }
}

#[test]
fn a_run_under_nohup_outlives_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let mut nohup = Command::new("nohup");
    nohup.arg(assert_cmd::cargo::cargo_bin("ddpm"));
    let child = start(nohup, &run, &LONG);
    wait_for_steps(&run, 4);
    kill(&child, "-HUP");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    // A step of seconds.
    let child = start(program(), &run, &["--set", "train.batch_size=40000", "--set", "sample.n=0"]);
    while !run.join("metrics.jsonl").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(&child, "-TERM");
    std::thread::sleep(Duration::from_millis(100));
    kill(&child, "-TERM");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    assert!(checkpoints(&run).is_empty());
}

#[test]
fn checkpoints_are_written_by_the_clock_and_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, often) = (run_in(&folder, "plain"), run_in(&folder, "often"));
    let settings = ["--set", "train.keep_checkpoints=0", "--set", "train.checkpoint_every=0", "--set", "sample.n=0"];
    train(&plain, &settings);
    // Less than a step.
    train(&often, &[&settings[..], &["--set", "train.checkpoint_every_minutes=0.0000001"]].concat());
    assert_eq!((checkpoints(&plain).len(), checkpoints(&often).len()), (1, 12));
    let weights = |run: &Path| {
        let last = Checkpoint::open(&run.join("checkpoints/step-00000012.safetensors")).unwrap();
        let (_, params) = ddpm::train::model_file::network(&last.header.config).unwrap();
        last.state(&params).unwrap()
    };
    assert!(weights(&plain) == weights(&often));
}

#[test]
fn a_second_process_in_a_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let first = start(program(), &run, &LONG);
    wait_for_steps(&run, 1);
    let out = run.display().to_string();
    let line = fails(&["train", "--device", "cpu", "--resume", "--out", &out], 1);
    let holder = format!("process {} on ", first.id());
    assert!(line.contains(&holder) && line.contains("is training here"), "{line}");
    // The first is none the worse for it, and its death frees the run.
    let steps = fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count();
    wait_for_steps(&run, steps + 1);
    kill(&first, "-KILL");
    first.wait_with_output().unwrap();
    train(&run, &[&LONG[..], &["--resume"]].concat());
    assert_eq!(result(&run, 400).0.len(), 400);
}

#[test]
fn two_runs_without_a_name_get_two_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || {
        let mut command = program();
        command.current_dir(folder.path()).args(["train", "--device", "cpu", "--set", "train.steps=1"]);
        command.args(["--set", "sample.n=0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for mut child in [begin(), begin(), begin(), begin()] {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    for number in 1..=4 {
        let run = folder.path().join(format!("runs/quickstart-{number:03}"));
        assert_eq!(checkpoints(&run).len(), 1, "{}", run.display());
    }
    // A run that cannot begin takes no number.
    let lacks_data = ["train", "--device", "cpu", "--data", "nowhere"];
    ddpm().current_dir(folder.path()).args(lacks_data).assert().code(2);
    assert!(!folder.path().join("runs/quickstart-005").exists());
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (run_in(&folder, "whole"), run_in(&folder, "run"));
    train(&whole, &[]);
    let (out, sheet) = (run.display().to_string(), run_in(&folder, "sheet.png").display().to_string());
    let damage: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.truncate(bytes.len() / 2), |bytes| bytes.clear(), |bytes| *bytes.last_mut().unwrap() ^= 4];
    for damage in damage {
        let _ = fs::remove_dir_all(&run);
        train(&run, &[]);
        let last = run.join("checkpoints/step-00000012.safetensors");
        let mut bytes = fs::read(&last).unwrap();
        damage(&mut bytes);
        fs::write(&last, &bytes).unwrap();

        // The weights themselves, which are the last in the file: a sample needs no other tensor to be whole.
        let sample = ["sample", &out, "--device", "cpu", "--n", "1", "--raw", "--out", &sheet];
        let sampled = ddpm().args(sample).assert().success();
        let said = String::from_utf8_lossy(&sampled.get_output().stdout).into_owned();
        assert!(said.contains("of step 9 ") && said.contains("step-00000012.safetensors: "), "{said}");

        let resumed = ddpm().args(tiny_args(&run)).arg("--resume").assert().success();
        let warned = String::from_utf8_lossy(&resumed.get_output().stderr).into_owned();
        assert!(warned.contains("warning: ") && warned.contains("; going on from step 9"), "{warned}");
        assert!(result(&whole, 12) == result(&run, 12), "the resumed run differs");
        assert_eq!(fs::read(last.with_extension("safetensors.damaged")).unwrap(), bytes);
    }
    // Without another checkpoint the run cannot go on, and does not begin again without a word.
    checkpoints(&run).iter().for_each(|path| fs::write(path, "").unwrap());
    let line = fails(&["train", "--device", "cpu", "--resume", "--out", &out], 1);
    assert!(line.contains("step-00000012.safetensors: the file is empty"), "{line}");
}

#[test]
fn a_torn_line_of_the_log_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (run_in(&folder, "whole"), run_in(&folder, "run"));
    let course = ["--set", "train.lr_steps=20"];
    train(&whole, &[&course[..], &["--set", "train.steps=20"]].concat());
    train(&run, &course);
    let log = run.join("metrics.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let line = text.lines().nth(4).unwrap();
    fs::write(&log, text.replacen(line, &[&line[..15], line, "\n", line].concat(), 1)).unwrap();
    train(&run, &[&course[..], &["--resume", "--set", "train.steps=20"]].concat());
    assert!(result(&whole, 20) == result(&run, 20), "the resumed run differs");
}

#[test]
fn a_longer_cosine_is_not_stretched_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    train(&run, &["--set", "train.warmup_steps=5", "--set", "sample.n=0"]);
    let resume = |settings: &[&str]| -> String {
        let args = ["train", "--device", "cpu", "--resume", "--out", run.to_str().unwrap()];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let assert = ddpm().args(args).args(settings).assert().success();
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let rates = || -> Vec<f64> {
        let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let rate = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["learning_rate"].as_f64();
        log.lines().map(|line| rate(line).unwrap()).collect()
    };
    // The old course: it has ended.
    assert!(!resume(&["train.steps=14", "train.lr_steps=12"]).contains("warning"));
    assert_eq!(rates()[12..], [0.0, 0.0]);
    // Another one.
    let warned = resume(&["train.steps=24", "train.lr_steps=0"]);
    assert!(warned.contains("warning: the learning rate of step 15 is ") && warned.contains("lr_steps=12"), "{warned}");
    assert!(rates()[14] > 1e-4, "{:?}", rates());
    assert!(!resume(&["train.steps=24"]).contains("warning"));
}

#[test]
fn files_have_the_mode_of_any_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (run, exported) = (run_in(&folder, "run"), run_in(&folder, "exported"));
    let sh = |command: String| {
        let program = assert_cmd::cargo::cargo_bin("ddpm");
        let command = format!("umask 022; {} {command}", program.display());
        assert!(Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status().unwrap().success());
    };
    sh(tiny_args(&run).iter().map(|arg| format!(" '{arg}'")).collect());
    sh(format!("export {} {}", run.display(), exported.display()));
    let files = [
        run.join("config.toml"),
        run.join("metrics.jsonl"),
        run.join("report.html"),
        run.join("samples/step-00000012.png"),
        run.join("checkpoints/step-00000012.safetensors"),
        exported.join("config.json"),
        exported.join("diffusion_pytorch_model.safetensors"),
    ];
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o644, "{}", file.display());
    }
}

#[test]
fn a_full_disk_is_tried_again_and_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let run = disk.join("run");
    let train = tiny_args(&run).iter().map(|arg| format!(" '{arg}'")).collect::<String>();
    let train = format!("{train} --set train.keep_checkpoints=1 --set sample.n=0");
    // A disk of its own, which vanishes with the processes that see it. It has room for two checkpoints and the rest.
    let script = format!(
        "mount -t tmpfs -o size=2000k tmpfs '{disk}' && {program} {train} --set train.steps=30; code=$?
         head -c 4000000 /dev/zero > '{disk}/filler' 2>/dev/null; truncate -s -65536 '{disk}/filler'
         {program} {train} --resume --set train.steps=60; code=$code,$?; ls '{run}/checkpoints'; rm '{disk}/filler'
         {program} {train} --resume --set train.steps=60; echo codes $code,$?",
        disk = disk.display(),
        run = run.display(),
        program = assert_cmd::cargo::cargo_bin("ddpm").display(),
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output();
    let Some(output) = output.ok().filter(|output| !stderr(output).contains("unshare: ")) else {
        ddpm::skip!("no disk of one's own can be mounted here");
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("step-00000030.safetensors") && said.contains("codes 0,1,0"), "{said}{}", stderr(&output));
    let warned = stderr(&output);
    assert!(warned.contains("; trying again in 1 s"), "{warned}");
    let advice = warned.split_once("the checkpoint of step 30 stays; free some space, then go on with: ");
    assert!(advice.is_some_and(|(_, command)| command.contains("ddpm train --resume --out")), "{warned}");
}

#[test]
fn a_sheet_that_was_due_when_the_run_was_killed_is_drawn_on_resuming() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    train(&run, &["--set", "train.steps=6", "--set", "train.sample_every=3"]);
    // As if it had been killed between checkpoint and sheet.
    fs::remove_file(run.join("checkpoints/step-00000006.safetensors")).unwrap();
    let sheets = ["samples/step-00000003.png", "samples/step-00000006.png"].map(|sheet| run.join(sheet));
    let drawn = sheets.clone().map(|sheet| fs::read(sheet).unwrap());
    sheets.iter().for_each(|sheet| fs::remove_file(sheet).unwrap());
    train(&run, &["--resume", "--set", "train.steps=6", "--set", "train.sample_every=3"]);
    assert!(sheets.map(|sheet| fs::read(sheet).unwrap()) == drawn);
}
