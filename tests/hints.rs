//! Advice of the program: commands that can be pasted as they are printed, and what to do after a mistake.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tiny::{ddpm, run_in, tiny_args, train};

mod tiny;

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Runs a line in a shell that finds no `ddpm`.
fn pasted(line: &str, folder: &Path) -> String {
    let output =
        Command::new("sh").args(["-c", line]).current_dir(folder).env("PATH", "/usr/bin:/bin").output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{line}: {text}");
    text
}

fn refused(args: &[&str]) -> String {
    let assert = ddpm().args(args).assert().code(2);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn hints_can_be_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "it's a run");
    let said = train(&run, &[]);
    let hint = said.lines().find_map(|line| line.strip_prefix("more     ")).unwrap();
    assert!(pasted(hint, folder.path()).contains("3 samples"), "{hint}");

    // A run that is stopped says how it goes on.
    let stopped = run_in(&folder, "stopped run");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
    command.args(tiny_args(&stopped)).args(["--set", "train.steps=300"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !fs::read_to_string(stopped.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() >= 3) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = text(&child.wait_with_output().unwrap());
    let hint = said.lines().find_map(|line| line.split_once("; go on with: ")).unwrap().1;
    let page = fs::read_to_string(stopped.join("report.html")).unwrap();
    assert!(page.contains("<b>Ended early</b>: stopped after step ") && page.contains("--resume --out"), "{said}");
    assert!(pasted(hint, folder.path()).contains("report "), "{hint}");
    let page = fs::read_to_string(stopped.join("report.html")).unwrap();
    assert!(page.contains("<b>Finished</b>: all 300 steps are done") && page.contains(" in 2 parts"), "{page}");
    let history = fs::read_to_string(stopped.join("history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 2);
    assert!(history.contains("\"state\":\"stopped\"") && history.contains("\"state\":\"finished\""), "{history}");
}

#[test]
fn a_setting_that_cannot_change_leads_to_a_new_run_with_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "first run");
    train(&run, &["--set", "sample.n=0"]);
    let resume = |setting: &str| {
        let run = run.to_str().unwrap();
        refused(&["train", "--device", "cpu", "--resume", "--out", run, "--set", setting])
    };
    let said = resume("train.learning_rate=0.003");
    let hint = said.trim_end().split_once("begins with these weights: ").unwrap().1;
    assert!(pasted(&format!("{hint} --device cpu"), folder.path()).contains("runs/"), "{said}");
    assert!(folder.path().join("runs").is_dir(), "{said}");
    // Weights of another network are no beginning.
    let said = resume("model.groups=2");
    assert!(!said.contains("--init") && said.contains("a new run with it: "), "{said}");
}

#[test]
fn a_killed_run_is_told_from_one_that_ended() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(&folder, "run");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("ddpm"));
    command.args(tiny_args(&run)).args(["--set", "train.steps=100000", "--set", "train.sample_every=0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("checkpoints/step-00000003.safetensors").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("data-written=\"") && page.contains("id=\"silent\" hidden"), "{page}");
    assert!(page.contains("data:image/png") && page.contains("the data: "), "the data are shown from the start");
    assert!(fs::read_to_string(run.join("history.jsonl")).unwrap().contains("\"state\":\"training\""));
}

#[test]
fn mistakes_name_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(&["train", "--preset", "cifar10"]);
    assert!(said.contains("did you mean \"ddpm-cifar10\""), "{said}");
    let out = folder.path().join("out");
    let train =
        |args: &[&str]| refused(&[&["train", "--device", "cpu", "--out", out.to_str().unwrap()], args].concat());
    let said = train(&["--preset", "mnist-small"]);
    assert!(said.contains("--data DIR") && said.contains("MNIST: ") && said.contains("https://"), "{said}");
    let colours = folder.path().join("colours");
    fs::create_dir(&colours).unwrap();
    let picture = ddpm::report::grid(&[0.5, -0.5, 0.0].repeat(64), [1, 8, 8, 3], None);
    picture.write_png(&colours.join("a.png")).unwrap();
    let said = train(&["--data", colours.to_str().unwrap()]);
    assert!(said.contains("--set model.in_channels=3") && said.contains("--set data.grey=true"), "{said}");
}

#[test]
fn the_version_tells_what_is_inside() {
    let said = |option: &str| text(&ddpm().arg(option).output().unwrap());
    let (short, long) = (said("-V"), said("--version"));
    assert!(short.starts_with(concat!("ddpm ", env!("CARGO_PKG_VERSION"))) && short.lines().count() == 1, "{short}");
    assert!(long.starts_with(short.trim_end()), "{long}");
    for line in ["GPU kernels", "features     emulator", "platform"] {
        assert!(long.contains(line), "{long}");
    }
}

#[test]
fn no_bar_is_drawn_where_the_cursor_cannot_move() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_in(&folder, "run");
    let line = |term: &str, columns: u32, out: &Path| {
        let words: Vec<String> = tiny_args(out).iter().map(|word| format!("'{word}'")).collect();
        let program = assert_cmd::cargo::cargo_bin("ddpm");
        format!("stty cols {columns}; TERM={term} {} {} --set train.steps=40", program.display(), words.join(" "))
    };
    let terminal = |term: &str, columns: u32, out: &Path| {
        Command::new("script").args(["-qec", &line(term, columns, out), "/dev/null"]).output().ok()
    };
    let Some(dumb) = terminal("dumb", 80, &out) else { ddpm::skip!("no program `script` opens a terminal here") };
    let dumb = text(&dumb);
    assert!(dumb.contains("step 40/40  loss ") && !dumb.contains('\u{1b}') && !dumb.contains('━'), "{dumb}");
    let narrow = text(&terminal("xterm", 44, &run_in(&folder, "narrow")).unwrap());
    let last = narrow.rsplit(['\r', '\n']).find(|line| line.contains("40/40")).unwrap();
    assert!(last.contains("loss 0.") || last.contains("loss 1."), "{last:?}");
}
