//! The invariants of docs/ARCHITECTURE.md that the source itself must keep: which room of the house imports which, what
//! stands only where it belongs, and how documentation begins.
//!
//! The rules read the files of the repository. [`planted`] holds a small tree and breaks each rule in it once.

#[path = "layers/graph.rs"]
mod graph;
#[path = "layers/planted.rs"]
mod planted;
#[path = "layers/source.rs"]
mod source;

use graph::{Modules, circles, test_files};
use source::{Source, Sources, tokens};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room of the house, and those that it may import. A name stands for all rooms below it: `engine` for the whole
/// engine. What is not below a room of this table has none.
const ROOMS: &[(&str, &str)] = &[
    ("error", ""),
    ("sample_kind", ""),
    ("files", "error"),
    ("invocation", ""),
    ("version", ""),
    ("levels", ""),
    ("pickle", ""),
    ("skip", ""),
    ("ranks", "error"),
    ("engine", ""),
    ("engine::random", "error"),
    ("engine::simd", "error"),
    ("engine::tensor", "error"),
    ("engine::device", "engine::tensor error"),
    ("engine::tape", "engine::device engine::tensor engine::simd engine::random error"),
    ("engine::ops", "engine error"),
    ("diffusion", "error"),
    ("nn", "engine pickle error"),
    ("data", "engine::random engine::device::map_file levels pickle sample_kind error"),
    ("report", "data levels files sample_kind error"),
    ("probe", "engine nn diffusion report sample_kind error"),
    ("sample", "engine nn diffusion report sample_kind error"),
    ("train", "ranks probe sample report data nn diffusion engine files invocation version sample_kind error"),
    ("eval", "train probe sample report data nn diffusion engine files levels sample_kind error"),
    ("profile", "train nn engine error"),
    ("experiment", "eval train ranks probe sample report data nn diffusion engine files invocation version error"),
    (
        "cli",
        "experiment profile eval train ranks probe sample report data nn diffusion engine files invocation version sample_kind error",
    ),
    ("main", "cli error"),
];

/// Words that are no part of a name in a room: what it must know nothing of.
const UNKNOWN: &[(&str, &str)] = &[
    ("diffusion", "backend cpu cuda device driver emu gpu launch op ops session tape tensor"),
    (
        "engine::ops",
        "checkpoint cifar dataset epoch glyph glyphs mlp mnist points preset resnet shuffle skipnet timestep_drop trainer \
         training unet",
    ),
];

/// Where `unsafe` stands: what reaches out of Rust.
const UNSAFE: &[&str] =
    &["src/engine/device/", "crates/kernel-emulator/src/", "crates/driver-stand-in/src/abi.rs", "tests/emulator.rs"];

/// Who writes to the terminal. `skip.rs` is a macro for tests; build scripts speak to cargo.
const PRINTERS: &[&str] = &[
    "src/cli/",
    "src/main.rs",
    "src/skip.rs",
    "crates/build-info/build.rs",
    "crates/driver-stand-in/build.rs",
    "crates/driver-stand-in/src/lib.rs",
    "crates/kernel-build/",
    "crates/kernel-emulator/build.rs",
    "crates/ptx-machine/tests/",
    "crates/run-on-gpu/",
];

/// Who opens the emulator: its device, the harness, and tests of the emulator itself. Other tests ask the harness, which
/// knows on which devices they are wanted.
const EMULATORS: &[&str] =
    &["src/engine/device/", "src/engine/ops/check/targets.rs", "tests/emulator.rs", "tests/emu/", "tests/wrappers.rs"];

/// How no documentation begins: a sentence that stands alone on an index page starts with a verb or a noun.
const OPENINGS: &[&str] = &["What", "Whether", "Of", "That", "Those"];

fn room(module: &str) -> Option<&'static str> {
    let rooms = ROOMS.iter().map(|(room, _)| *room).filter(|room| is_within(module, room));
    rooms.max_by_key(|room| room.len())
}

fn is_within(module: &str, room: &str) -> bool {
    module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The repository as the rules see it.
pub struct House {
    rust: Sources,
    kernels: Vec<(String, String)>,
    document: String,
}

impl House {
    fn new(files: Vec<(String, String)>) -> House {
        let (mut rust, mut kernels, mut document) = (Sources::new(), Vec::new(), String::new());
        for (path, text) in files {
            match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
                "rs" => drop(rust.insert(path.clone(), Source::new(&path, &text))),
                "cu" | "cuh" => kernels.push((path, text)),
                _ => document = text,
            }
        }
        for path in test_files(&rust) {
            let source = rust.get_mut(&path).expect("one of them");
            let tokens = std::mem::take(&mut source.tokens);
            source.test_tokens.splice(0..0, tokens);
        }
        House { rust, kernels, document }
    }

    fn of_repository() -> House {
        let mut files = Vec::new();
        for folder in ["src", "crates", "build", "tests", "benches", "kernels"] {
            let extensions: &[&str] = if folder == "kernels" { &["cu", "cuh"] } else { &["rs"] };
            read_below(&root().join(folder), extensions, &mut files);
        }
        let document = "docs/ARCHITECTURE.md";
        files.push((document.into(), fs::read_to_string(root().join(document)).unwrap()));
        House::new(files)
    }

    fn library(&self) -> impl Iterator<Item = &Source> {
        self.rust.values().filter(|source| source.path.starts_with("src/"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn read_below(folder: &Path, extensions: &[&str], files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_below(&path, extensions, files);
        } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Files outside every room, and imports from rooms that the table does not allow.
pub fn wrong_imports(house: &House) -> BTreeSet<String> {
    let without_room = house.library().filter(|source| !source.module().is_empty() && room(&source.module()).is_none());
    let mut found: BTreeSet<String> = without_room.map(|source| format!("{} is in no room", source.path)).collect();
    for arrow in Modules::new(&house.rust).arrows() {
        let [from, to] = [&arrow.from, &arrow.to].map(|file| house.rust[file].module());
        let (Some(here), Some(there)) = (room(&from), room(&to)) else { continue };
        let allowed = ROOMS.iter().find(|(room, _)| *room == here).map_or("", |(_, rooms)| rooms);
        if here != there && !allowed.split(' ').any(|room| is_within(&to, room)) {
            found.insert(format!("{} imports {to}", arrow.from));
        }
    }
    found
}

/// Imports that lie on a circle of files.
pub fn circular_imports(house: &House) -> BTreeSet<String> {
    let arrows = Modules::new(&house.rust).arrows();
    circles(&arrows).into_iter().map(|arrow| format!("{} -> {}", arrow.from, arrow.to)).collect()
}

/// Names of what a room must know nothing of.
pub fn foreign_words(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in house.library() {
        for (_, words) in UNKNOWN.iter().filter(|(room, _)| is_within(&source.module(), room)) {
            let named = |token: &&String| words_of(token).iter().any(|word| words.split(' ').any(|w| w == word));
            found.extend(source.tokens.iter().filter(named).map(|token| format!("{} names {token}", source.path)));
        }
    }
    found
}

/// `LabelDrop` and `label_drop` are `label` and `drop`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && !words.last().is_some_and(String::is_empty) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
    }
    words
}

/// Files outside of [`UNSAFE`] with the keyword.
pub fn unsafe_code(house: &House) -> BTreeSet<String> {
    let elsewhere = house.rust.values().filter(|source| !UNSAFE.iter().any(|place| source.path.starts_with(place)));
    let is_unsafe = |s: &&Source| s.tokens.iter().chain(&s.test_tokens).any(|token| token == "unsafe");
    elsewhere.filter(is_unsafe).map(|source| format!("{} has unsafe code", source.path)).collect()
}

/// Files outside of [`PRINTERS`] that write to the terminal.
pub fn prints(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let of_program = house.rust.values().filter(|s| s.path.starts_with("src/") || s.path.starts_with("crates/"));
    for source in of_program.filter(|source| !PRINTERS.iter().any(|place| source.path.starts_with(place))) {
        for pair in source.tokens.windows(2) {
            let prints = match pair[0].as_str() {
                "print" | "println" | "eprint" | "eprintln" | "dbg" => pair[1] == "!",
                "indicatif" | "stdout" | "stderr" => true,
                _ => false,
            };
            if prints {
                found.insert(format!("{} has {}", source.path, pair[0]));
            }
        }
    }
    found
}

/// Returns of tests that `skip!` does not make: such a test passes without having tested anything.
pub fn silent_returns(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in house.rust.values() {
        let is_test = source.path.starts_with("tests/") && !source.path.starts_with("tests/layers");
        let tokens = source.test_tokens.iter().chain(source.tokens.iter().filter(|_| is_test));
        let tokens: Vec<&str> = tokens.map(String::as_str).collect();
        let count = tokens.windows(2).filter(|pair| matches!(pair, ["return", ";" | "}"])).count();
        if count > 0 {
            found.insert(format!("{} has tests that return early: {count}", source.path));
        }
    }
    found
}

/// Atomic operations in kernels on anything but counters: on those they add or write a number without a point.
pub fn float_atomics(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in &house.kernels {
        let code: String =
            text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        for (at, _) in code.match_indices("atomic") {
            let call = code[at..].split(';').next().unwrap_or("");
            let operand = call.rsplit(", ").next().unwrap_or("").split(')').next().unwrap_or("");
            let is_counter = operand.strip_suffix('u').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
            if call.contains('(') && !is_counter {
                found.insert(format!("{path} has {}", call.lines().next().unwrap_or("")));
            }
        }
        for instruction in ["atom.global", "atom.shared", "red.global", "red.shared", "red.async", "cp.reduce"] {
            let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if code.match_indices(instruction).any(|(at, _)| starts(at)) {
                found.insert(format!("{path} has the instruction {instruction}"));
            }
        }
    }
    found
}

/// Files outside of [`EMULATORS`] that open the emulator.
pub fn opened_emulators(house: &House) -> BTreeSet<String> {
    let elsewhere = house.rust.values().filter(|source| !EMULATORS.iter().any(|place| source.path.starts_with(place)));
    let opens = |tokens: &[String]| tokens.windows(3).any(|w| w == ["Emu", "::", "new"]);
    let found = elsewhere.filter(|source| opens(&source.tokens) || opens(&source.test_tokens));
    found.map(|source| format!("{} opens the emulator by itself", source.path)).collect()
}

/// Kernel files without the op file of their name, where the mathematics and the launches stand: in the room of the ops, or
/// in that of the tape, whose own ops add gradients up.
pub fn unpaired_kernels(house: &House) -> BTreeSet<String> {
    let stems = house.kernels.iter().filter_map(|(path, _)| path.strip_prefix("kernels/")?.strip_suffix(".cu"));
    let has_op = |stem: &&str| {
        let ops = ["src/engine/ops", "src/engine/tape"].map(|folder| format!("{folder}/{stem}"));
        house.rust.keys().any(|path| {
            ops.iter().any(|op| path.strip_prefix(op.as_str()).is_some_and(|rest| rest == ".rs" || rest == "/mod.rs"))
        })
    };
    let unpaired = stems.filter(|stem| !stem.contains('/') && !has_op(stem));
    unpaired.map(|stem| format!("kernels/{stem}.cu has no src/engine/ops/{stem}.rs")).collect()
}

/// Documentation that begins with one of [`OPENINGS`].
pub fn openings(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in house.rust.values() {
        let mut before = None;
        for line in source.text.lines().map(str::trim_start) {
            let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind) && !line.starts_with("////"));
            if let (Some(kind), false) = (kind, kind == before) {
                let sentence = line[kind.len()..].trim_start();
                let word = sentence.split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
                if OPENINGS.contains(&word) {
                    found.insert(format!("{}: {sentence}", source.path));
                }
            }
            before = kind;
        }
    }
    found
}

/// Lines of the document's invariants that name no test, or one that is not there.
pub fn invariants_without_test(house: &House) -> BTreeSet<String> {
    let section = house.document.split("\n## Invariants\n").nth(1).unwrap_or("").split("\n## ").next().unwrap_or("");
    let lines = section.split("\n- ").skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut found = BTreeSet::new();
    if section.is_empty() {
        found.insert("docs/ARCHITECTURE.md has no invariants".into());
    }
    for line in lines {
        let links = line.split("[`").skip(1).filter_map(|part| part.split_once("`](../"));
        let mut tests = links.map(|(name, rest)| (name, rest.split(')').next().unwrap_or(""))).peekable();
        if tests.peek().is_none() {
            found.insert(format!("no test: {line}"));
        }
        for (name, path) in tests {
            let test = tokens(&format!("#[test] fn {name}("));
            let is_there =
                |s: &Source| s.tokens.windows(test.len()).chain(s.test_tokens.windows(test.len())).any(|w| w == test);
            if !house.rust.get(path).is_some_and(is_there) {
                found.insert(format!("{path} has no test {name}: {line}"));
            }
        }
    }
    found
}

/// Violations that are still there, a line each; none may be added.
const KNOWN: &str = "tests/layers/known.txt";

type Rule = fn(&House) -> BTreeSet<String>;

/// The rules by the names that begin the lines of [`KNOWN`].
const RULES: &[(&str, Rule)] = &[
    ("import", wrong_imports),
    ("circle", circular_imports),
    ("word", foreign_words),
    ("unsafe", unsafe_code),
    ("print", prints),
    ("return", silent_returns),
    ("emulator", opened_emulators),
    ("atomic", float_atomics),
    ("kernel", unpaired_kernels),
    ("opening", openings),
    ("invariant", invariants_without_test),
];

/// `DDPM_LAYERS_SHRINK=1` takes out of [`KNOWN`] what has gone.
#[test]
fn known_violations_shrink() {
    if std::env::var("DDPM_LAYERS_SHRINK").is_ok_and(|v| v == "1") {
        let house = House::of_repository();
        let there: BTreeSet<String> = RULES
            .iter()
            .flat_map(|(name, rule)| rule(&house).into_iter().map(move |line| format!("{name}: {line}")))
            .collect();
        let text = fs::read_to_string(root().join(KNOWN)).unwrap();
        let left: Vec<&str> = text.lines().filter(|line| there.contains(*line)).collect();
        fs::write(root().join(KNOWN), left.join("\n") + "\n").unwrap();
    }
}

fn hold(rule: Rule) {
    let name = RULES.iter().find(|(_, other)| std::ptr::fn_addr_eq(*other, rule)).expect("in the table").0;
    let text = fs::read_to_string(root().join(KNOWN)).unwrap();
    let known: BTreeSet<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned())).collect();
    let found = rule(&House::of_repository());
    let list = |lines: Vec<&String>| lines.into_iter().map(|line| format!("\n{name}: {line}")).collect::<String>();
    let new = list(found.difference(&known).collect());
    assert!(new.is_empty(), "against the rules of the house:{new}");
    let gone = list(known.difference(&found).collect());
    assert!(gone.is_empty(), "no longer there, so to be taken out of {KNOWN} (DDPM_LAYERS_SHRINK=1 does):{gone}");
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    hold(wrong_imports);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    hold(circular_imports);
}

#[test]
fn diffusion_and_ops_do_not_name_what_they_know_nothing_of() {
    hold(foreign_words);
}

#[test]
fn unsafe_stands_only_in_the_driver() {
    hold(unsafe_code);
}

#[test]
fn only_cli_prints() {
    hold(prints);
}

#[test]
fn no_test_returns_early() {
    hold(silent_returns);
}

#[test]
fn tests_ask_the_harness_for_the_emulator() {
    hold(opened_emulators);
}

#[test]
fn kernels_have_no_float_atomics() {
    hold(float_atomics);
}

#[test]
fn every_kernel_has_its_op() {
    hold(unpaired_kernels);
}

#[test]
fn documentation_opens_with_a_verb_or_a_noun() {
    hold(openings);
}

#[test]
fn every_invariant_names_its_test() {
    hold(invariants_without_test);
}
