//! Command lines that a user can paste as they are printed: under the name by which a shell finds this program, with
//! quotes where they are needed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The program's name where it is installed.
const NAME: &str = "ddpm";

/// A command of this program, such as `target/release/ddpm sample 'my runs/a'`.
pub fn command<T: AsRef<str>>(arguments: impl IntoIterator<Item = T>) -> String {
    let mut line = program().to_owned();
    for argument in arguments {
        line.push(' ');
        line += &quoted(argument.as_ref());
    }
    line
}

/// The command that goes on with the run in a directory.
pub fn resume(run: &Path) -> String {
    command(["train", "--resume", "--out", &run.to_string_lossy()])
}

/// The command line of this process, as it was typed.
pub fn own() -> String {
    let words: Vec<String> = env::args_os().map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// The name by which a shell finds this program.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let typed = env::args_os().next().map(PathBuf::from).unwrap_or_default();
        quoted(&name_for_shell(&typed, env::current_exe().ok(), &env::var_os("PATH").unwrap_or_default()))
    });
    &PROGRAM
}

/// `ddpm` where a shell finds the file of this process under that name; else the path as typed, or in full. Other programs
/// that use this library, such as tests, speak of the installed one.
fn name_for_shell(typed: &Path, file: Option<PathBuf>, path: &OsStr) -> String {
    let file = file.filter(|file| file.file_stem() == Some(OsStr::new(NAME))).and_then(|file| file.canonicalize().ok());
    let Some(file) = file else { return NAME.into() };
    let installed = env::split_paths(path).map(|folder| folder.join(NAME).with_extension(env::consts::EXE_EXTENSION));
    let installed = installed.filter_map(|path| path.canonicalize().ok()).find(|path| path.is_file());
    let is_typed_path = typed.components().count() > 1 && typed.canonicalize().is_ok_and(|typed| typed == file);
    match is_typed_path {
        _ if installed.as_ref() == Some(&file) => NAME.into(),
        true => typed.to_string_lossy().into_owned(),
        false => file.to_string_lossy().into_owned(),
    }
}

/// A word as a shell reads it: in quotes where it holds more than letters, digits and the signs of paths and settings.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c) || (cfg!(windows) && "\\~".contains(c));
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else if cfg!(windows) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    #[cfg(unix)]
    fn a_shell_reads_back_what_was_quoted() {
        for word in
            ["", "plain/path-1.toml", "two words", "it's", "$HOME *", "a=[1, 2]", "\"", "ünï", "~", "a\\b", "-x"]
        {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word);
        }
        assert_eq!(quoted("model.channels=[8,16]"), "'model.channels=[8,16]'");
        assert_eq!(quoted("train.steps=100"), "train.steps=100");
        assert_eq!(resume(Path::new("my runs/a")), "ddpm train --resume --out 'my runs/a'");
    }

    #[test]
    fn the_program_is_called_by_its_path_unless_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let [built, bin, other] = ["built", "bin", "other"].map(|name| {
            let path = folder.path().join(name).join(NAME).with_extension(env::consts::EXE_EXTENSION);
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path.canonicalize().unwrap()
        });
        let name = |typed: &Path, file: &Path, folders: &[&PathBuf]| {
            let folders = folders.iter().map(|file| file.parent().unwrap());
            name_for_shell(typed, Some(file.into()), &env::join_paths(folders).unwrap())
        };
        let in_full = |path: &Path| path.to_string_lossy().into_owned();
        // Nothing is installed, or something else is.
        assert_eq!(name(&built, &built, &[]), in_full(&built));
        assert_eq!(name(&built, &built, &[&other]), in_full(&built));
        assert_eq!(name(Path::new("ddpm"), &built, &[&other]), in_full(&built));
        // It is this one, also behind a folder that has none.
        assert_eq!(name(&bin, &bin, &[&bin, &other]), NAME);
        fs::remove_file(&other).unwrap();
        assert_eq!(name(Path::new("ddpm"), &bin, &[&other, &bin]), NAME);
        // A test, or another program.
        assert_eq!(name(&built, &folder.path().join("harness"), &[]), NAME);
        assert_eq!(name_for_shell(Path::new(""), None, OsStr::new("")), NAME);
    }
}
