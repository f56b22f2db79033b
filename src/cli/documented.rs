//! Every command line that README, documentation and `--help` show is one that the program accepts.

use super::{Cli, Command};
use crate::train::Config;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::fs;
use std::path::{Path, PathBuf};

/// A command line, and where it stands.
struct Line {
    place: String,
    words: Vec<String>,
    /// Inside a sentence, where a command may stand for what it does, without its arguments.
    is_prose: bool,
}

/// The Markdown files of the repository that users read.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The words of a line from `ddpm` or `cargo run ... --` on, up to a comment or a wide gap.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start().trim_start_matches("$ ");
    let command = if line.starts_with("cargo run") {
        line.split_once(" -- ").map_or("", |(_, rest)| rest)
    } else if let Some(rest) = line.strip_prefix("ddpm ") {
        rest
    } else {
        // Behind a profiler or a launcher.
        line.split_once(" ddpm ").filter(|(before, _)| !before.contains(['#', '`']) && !before.ends_with("-t"))?.1
    };
    let command = command.split(" #").next().unwrap_or_default();
    let command = command.split("   ").next().unwrap_or_default().split("; ").next().unwrap_or_default();
    let words = command.split_whitespace().take_while(|word| !["|", ">", "&&", "&"].contains(word));
    Some(words.map(|word| word.trim_matches(['"', '\'']).to_owned()).collect())
}

fn lines_of_page(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let (mut lines, mut is_code) = (Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{}:{number}", path.display());
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            lines.extend(words(line).map(|words| Line { place, words, is_prose: false }));
        } else {
            let code = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("ddpm "));
            lines.extend(code.filter_map(words).map(|words| Line { place: place.clone(), words, is_prose: true }));
        }
    }
    lines
}

fn lines_of_help(command: &clap::Command, name: &str, lines: &mut Vec<Line>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = help.lines().filter(|line| line.starts_with("  ddpm ")).filter_map(words);
    lines.extend(examples.map(|words| Line { place: format!("{name} --help"), words, is_prose: false }));
    command.get_subcommands().for_each(|inner| lines_of_help(inner, &format!("{name} {}", inner.get_name()), lines));
}

/// The settings that a parsed command line changes must exist, and its preset, too.
fn check_settings(line: &Line) -> Result<(), String> {
    let values = |option: &str| {
        let follows = line.words.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1].clone());
        follows.collect::<Vec<_>>()
    };
    let preset = values("--preset").pop().unwrap_or("quickstart".into());
    let config = crate::train::presets::get(&preset).map_err(|e| e.to_string())?;
    let settings: Vec<String> = values("--set").into_iter().filter(|setting| !setting.ends_with("...")).collect();
    config.with_settings(&settings).map(|_: Config| ()).map_err(|e| e.to_string())
}

#[test]
fn every_command_line_that_is_shown_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut found);
    let mut lines: Vec<Line> = found.iter().flat_map(|page| lines_of_page(page)).collect();
    lines_of_help(&Cli::command(), "ddpm", &mut lines);
    let mut wrong = Vec::new();
    for line in &lines {
        let parsed = Cli::try_parse_from(["ddpm"].into_iter().chain(line.words.iter().map(String::as_str)));
        let shown = format!("{}: ddpm {}", line.place, line.words.join(" "));
        match parsed {
            Ok(_) => wrong.extend(check_settings(line).err().map(|error| format!("{shown}\n    {error}"))),
            Err(error) if [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion].contains(&error.kind()) => {}
            Err(error) if line.is_prose && is_unfinished(error.kind()) => {}
            Err(error) => wrong.push(format!("{shown}\n    {}", error.to_string().lines().next().unwrap_or_default())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines.len() >= 60, "{} lines were found", lines.len());
}

fn is_unfinished(kind: ErrorKind) -> bool {
    [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ]
    .contains(&kind)
}

#[test]
fn lines_are_found_and_mistakes_in_them_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let text = "`ddpm sample` and `ddpm train --stepps 3`:\n```sh\nnsys profile ddpm bench train --batch 8   # text\n\
                cargo run --release -- train --set train.step=3\nls\n```\n";
    fs::write(&page, text).unwrap();
    let lines = lines_of_page(&page);
    let shown: Vec<String> = lines.iter().map(|line| line.words.join(" ")).collect();
    assert_eq!(shown, ["sample", "train --stepps 3", "bench train --batch 8", "train --set train.step=3"]);
    let parse = |line: &Line| Cli::try_parse_from(["ddpm"].into_iter().chain(line.words.iter().map(String::as_str)));
    assert!(parse(&lines[1]).is_err_and(|error| !is_unfinished(error.kind())));
    assert!(matches!(parse(&lines[2]).map(|cli| cli.command), Ok(Command::Bench(_))));
    assert!(check_settings(&lines[3]).unwrap_err().contains("train.steps"));
}
