//! Stages of a bundle whose program is a script: what the runner makes of that program's answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The standard output of the stage `determinism` where training writes what `content` prints as its checkpoint.
fn determinism(content: &str) -> String {
    let bundle = tempfile::tempdir().unwrap();
    let runner = bundle.path().join("run-on-gpu");
    fs::copy(env!("CARGO_BIN_EXE_run-on-gpu"), &runner).unwrap();
    let script = format!(
        r#"#!/bin/sh
[ "$DDPM_REQUIRE_GPU" = 1 ] || exit 1
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2 ;;
    train.steps=*) steps=${{1#train.steps=}} ;;
  esac
  shift
done
mkdir -p "$out/checkpoints"
({content}) >"$out/checkpoints/step-$(printf %08d "$steps").safetensors"
"#
    );
    // Another program writes the script: one that is open for writing cannot be run, and the test's other threads fork.
    let program = bundle.path().join("ddpm");
    fs::write(bundle.path().join("text"), script).unwrap();
    assert!(Command::new("cp").arg(bundle.path().join("text")).arg(&program).status().unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&runner).args(["--only", "determinism"]).env_remove("OUT").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.success(), text.contains("determinism  passed"), "{text}");
    text
}

#[test]
fn runs_are_equal_or_the_stage_fails_and_names_the_two() {
    let same = determinism("echo $steps");
    assert!(
        same.contains("determinism  passed") && same.contains("200 steps: two runs and a resumed one are equal"),
        "{same}"
    );
    for other in ["second", "resumed"] {
        let text = determinism(&format!("[ $out = {other} ] && echo abc || echo abd"));
        let names = format!(
            "first/checkpoints/step-00000200.safetensors and {other}/checkpoints/step-00000200.safetensors differ"
        );
        assert!(text.contains("determinism  failed") && text.contains(&names), "{text}");
    }
    let none = determinism("exit 3");
    assert!(none.contains("determinism  failed"), "{none}");
}
