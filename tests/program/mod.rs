//! Running the program.

use assert_cmd::Command;

/// The program with these arguments.
pub fn ddpm(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("ddpm").unwrap();
    command.args(args);
    command
}

/// Its output where it succeeds.
pub fn stdout(args: &[&str]) -> String {
    let assert = ddpm(args).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}
