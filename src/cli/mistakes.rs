//! Command lines that cannot be parsed: an option that is a setting gets the words that set it.

use crate::train::Config;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Sections whose settings a command's `--set` takes.
fn sections(command: &str) -> &'static [&'static str] {
    match command {
        "train" | "bench" | "profile" | "inspect" | "eval" => &["model", "diffusion", "data", "train", "sample"],
        "sample" | "interpolate" | "inpaint" => &["sample", "diffusion"],
        _ => &[],
    }
}

/// Adds to the error of an unknown option the setting of that name, where the command has `--set`.
pub fn explained(mut error: clap::Error, command: &str) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return error };
    let name = option.trim_start_matches('-').split('=').next().unwrap_or_default().replace('-', "_");
    let settings = Config::keys();
    let is_meant = |key: &str| {
        let (section, last) = key.split_once('.').unwrap_or_default();
        last == name && sections(command).contains(&section)
    };
    let Some(key) = settings.iter().find(|key| is_meant(key)) else { return error };
    let tip = format!("that is a setting: --set {key}=VALUE").into();
    error.remove(ContextKind::SuggestedArg);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    error
}
