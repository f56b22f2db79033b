//! A small house that keeps all rules, and the same with one rule broken at a time.

use super::source::{Import, Source, tokens};
use super::*;

const INVARIANTS: &str =
    "# Map\n\n## Invariants\n\n- Silu is smooth: [`smooth`](../src/engine/ops/silu.rs).\n\n## End\n";

/// Files that keep all rules: what the comments, strings and tests of `silu.rs` hold is no code of the library.
fn files() -> Vec<(String, String)> {
    let silu = r##"
        //! Silu: `unsafe` and `crate::train` stand only in this comment, /* println! */ and in strings.
        use crate::engine::tape::{self, Tape, parts::Part as Piece};
        /* nested /* unsafe */ crate::train::Config */
        pub fn silu<'a>(tape: &'a mut Tape, c: char) -> Piece {
            let _ = ("unsafe \" println!", r#"crate::train" unsafe"#, b'"', c == '"', '\'');
            tape::record(tape)
        }
        #[cfg(test)]
        mod tests {
            use crate::train::Config;
            #[test]
            fn smooth() { println!("prints"); return skip(1); }
        }
    "##;
    let files = [
        ("src/lib.rs", "pub mod engine; pub mod train; pub mod report; pub use report::page::Page;"),
        ("src/engine/mod.rs", "pub mod tape; pub mod ops;"),
        ("src/engine/tape/mod.rs", "pub mod parts; pub use parts::Part; pub struct Tape; pub fn record(t: &Tape) {}"),
        ("src/engine/tape/parts.rs", "/// A part.\npub struct Part(super::Tape);"),
        ("src/engine/ops/mod.rs", "pub mod silu;"),
        ("src/engine/ops/silu.rs", silu),
        ("src/engine/device/cuda.rs", "unsafe fn launch() {}"),
        ("src/diffusion/mod.rs", "pub fn alpha_bar(t: f64) -> f64 { t }"),
        ("src/report/mod.rs", "pub mod page;"),
        ("src/data/mod.rs", "#[cfg(test)]\nmod tests;"),
        ("src/report/page.rs", "pub struct Page;"),
        ("src/data/tests.rs", "use crate::train::Config; fn f() { println!() }"),
        (
            "src/train/mod.rs",
            "use crate::{Page, engine::ops::silu::silu};\n/// Trains.\n/// What it needs.\npub struct Config;",
        ),
        ("src/cli/mod.rs", "fn main() { println!() }"),
        ("kernels/silu.cu", "__global__ void f(unsigned* n) { atomicAdd(n, 1u); }  // no atomicAdd(x, 0.5f)"),
        ("kernels/common/tile.cuh", "asm(\"ld.shared.b32\");"),
        ("docs/ARCHITECTURE.md", INVARIANTS),
    ];
    files.into_iter().map(|(path, text)| (path.into(), text.into())).collect()
}

/// The violations of all rules in the house with these files added or replaced.
fn violations(planted: &[(&str, &str)]) -> Vec<String> {
    let mut files = files();
    files.retain(|(path, _)| planted.iter().all(|(other, _)| other != path));
    files.extend(planted.iter().map(|(path, text)| (path.to_string(), text.to_string())));
    let house = House::new(files);
    RULES.iter().flat_map(|(name, rule)| rule(&house).into_iter().map(move |line| format!("{name}: {line}"))).collect()
}

#[track_caller]
fn breaks(planted: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(violations(planted), expected);
}

#[test]
fn a_house_in_order_breaks_no_rule() {
    breaks(&[], &[]);
}

#[test]
fn an_import_from_above_is_found_in_every_form() {
    for text in [
        "use crate::train::Config;",
        "use crate::{engine::tape::Tape, train::{Config as Boss}};",
        "use crate::train;",
        "use super::super::super::train::*;",
        "fn f() -> crate::train::Config { todo() }",
        "mod inner { use super::super::super::super::train::Config; }",
        "fn f() { use crate::train::Config; }",
        "macro_rules! m { () => { $crate::train::Config } }",
    ] {
        breaks(&[("src/engine/ops/relu.rs", text)], &["import: src/engine/ops/relu.rs imports train"]);
    }
    // By the name that another room passes on: what counts is the file that defines it.
    breaks(&[("src/engine/ops/relu.rs", "use crate::Page;")], &["import: src/engine/ops/relu.rs imports report::page"]);
}

#[test]
fn a_file_in_no_room_is_found() {
    breaks(&[("src/attic.rs", "")], &["import: src/attic.rs is in no room"]);
}

#[test]
fn circles_of_files_are_found() {
    let both = ["circle: src/report/a.rs -> src/report/b.rs", "circle: src/report/b.rs -> src/report/a.rs"];
    let a = ("src/report/a.rs", "use super::b::B; pub struct A;");
    breaks(&[a, ("src/report/b.rs", "pub struct B(crate::report::a::A);")], &both);
    // By a name that the folder passes on, and with an alias.
    let folder = ("src/report/mod.rs", "pub mod a; pub mod b; pub use a::A as First;");
    breaks(&[a, folder, ("src/report/b.rs", "use super::First; pub struct B(First);")], &both);
    // A folder that uses what it passes on.
    let user = ("src/engine/tape/mod.rs", "pub mod parts; pub use parts::Part; pub struct Tape(Vec<Part>);");
    breaks(
        &[user, ("src/engine/ops/silu.rs", "#[test] fn smooth() {}")],
        &[
            "circle: src/engine/tape/mod.rs -> src/engine/tape/parts.rs",
            "circle: src/engine/tape/parts.rs -> src/engine/tape/mod.rs",
        ],
    );
    // Three files; the fourth only looks at them.
    breaks(
        &[
            ("src/report/a.rs", "use super::b; pub struct A(b::B);"),
            ("src/report/b.rs", "use super::c::*; pub struct B(C);"),
            ("src/report/c.rs", "pub struct C(super::a::A);"),
            ("src/report/d.rs", "use super::a::A;"),
        ],
        &[
            "circle: src/report/a.rs -> src/report/b.rs",
            "circle: src/report/b.rs -> src/report/c.rs",
            "circle: src/report/c.rs -> src/report/a.rs",
        ],
    );
}

#[test]
fn names_from_above_are_found() {
    breaks(
        &[("src/engine/ops/relu.rs", "enum Stream { GlyphNoise }")],
        &["word: src/engine/ops/relu.rs names GlyphNoise"],
    );
    breaks(&[("src/diffusion/time.rs", "fn on_gpu(t: f64) {}")], &["word: src/diffusion/time.rs names on_gpu"]);
}

#[test]
fn unsafe_code_outside_the_driver_is_found() {
    let expected = ["unsafe: src/report/page.rs has unsafe code"];
    breaks(&[("src/report/page.rs", "pub struct Page; fn f() { unsafe { g() } }")], &expected);
    breaks(&[("src/report/page.rs", "pub struct Page; #[cfg(test)] mod tests { unsafe fn f() {} }")], &expected);
    breaks(&[("tests/cli.rs", "unsafe extern \"C\" {}")], &["unsafe: tests/cli.rs has unsafe code"]);
}

#[test]
fn a_print_outside_the_program_is_found() {
    breaks(
        &[("src/report/page.rs", "pub struct Page; fn f() { eprintln!(\"x\") }")],
        &["print: src/report/page.rs has eprintln"],
    );
    breaks(
        &[("src/report/page.rs", "pub struct Page; use indicatif::ProgressBar;")],
        &["print: src/report/page.rs has indicatif"],
    );
}

#[test]
fn a_test_that_returns_early_is_found() {
    let text = "#[test] fn f() { let Some(x) = g() else { return }; if x { return; } }";
    breaks(&[("tests/cli.rs", text)], &["return: tests/cli.rs has tests that return early: 2"]);
    breaks(
        &[("src/data/tests.rs", "fn f() { let Ok(x) = g() else { return }; }")],
        &["return: src/data/tests.rs has tests that return early: 1"],
    );
}

#[test]
fn a_test_that_opens_the_emulator_is_found() {
    breaks(
        &[("src/data/tests.rs", "fn f() { Emu::new(EmuOptions::default()).is_err() }")],
        &["emulator: src/data/tests.rs opens the emulator by itself"],
    );
}

#[test]
fn an_atomic_sum_of_floats_is_found() {
    breaks(
        &[("kernels/silu.cu", "void f(float* y, float x) {\n  atomicAdd(y, x);\n}")],
        &["atomic: kernels/silu.cu has atomicAdd(y, x)"],
    );
    breaks(
        &[("kernels/common/tile.cuh", "asm(\"red.global.add.f32 [%0], %1;\");")],
        &["atomic: kernels/common/tile.cuh has the instruction red.global"],
    );
}

#[test]
fn a_kernel_without_its_op_is_found() {
    breaks(&[("kernels/relu.cu", "")], &["kernel: kernels/relu.cu has no src/engine/ops/relu.rs"]);
}

#[test]
fn documentation_that_opens_with_a_question_word_is_found() {
    breaks(
        &[(
            "src/report/page.rs",
            "//! Of pages.\n\n/// A page.\npub struct Page;\n/// Whether it is white.\nfn f() {}",
        )],
        &["opening: src/report/page.rs: Of pages.", "opening: src/report/page.rs: Whether it is white."],
    );
}

#[test]
fn an_invariant_without_its_test_is_found() {
    breaks(
        &[(
            "docs/ARCHITECTURE.md",
            "## Map\n\n## Invariants\n\n- All is\n  well.\n- It is: [`flat`](../src/lib.rs).\n",
        )],
        &[
            "invariant: no test: All is well.",
            "invariant: src/lib.rs has no test flat: It is: [`flat`](../src/lib.rs).",
        ],
    );
    breaks(&[("docs/ARCHITECTURE.md", "# Map\n")], &["invariant: docs/ARCHITECTURE.md has no invariants"]);
}

#[test]
fn imports_are_read_as_rust_reads_them() {
    let text = "pub(crate) use a::{b::{self, C as D}, e::*}; fn f() { x.y::<u8>(self::g::H::new()) } struct S; mod m { const N: u8 = 1; }";
    let names = Source::new("src/r/s.rs", text).names();
    let import = |path: &[&str], name: &str| Import {
        scope: "r::s".into(),
        path: path.iter().map(|part| part.to_string()).collect(),
        name: name.into(),
        is_public: true,
    };
    assert_eq!(names.imports, [import(&["a", "b"], "b"), import(&["a", "b", "C"], "D"), import(&["a", "e", "*"], "*")]);
    let own = |scope: &str, name: &str| (scope.to_owned(), name.to_owned());
    assert_eq!(names.definitions, [own("r::s", "f"), own("r::s", "S"), own("r::s::m", "N")]);
    let path = ["self", "g", "H", "new"].map(String::from).to_vec();
    assert!(names.mentions.contains(&("r::s".into(), path)), "{:?}", names.mentions);
    assert!(names.mentions.iter().all(|(_, path)| path[0] != "y"), "{:?}", names.mentions);
}

#[test]
fn literals_and_comments_are_no_names() {
    let text = r##"a /* b /* c */ d */ "e \" f" r#"g " h"# 'i' '\'' b"j" 'k: l::<'m> // n"##;
    assert_eq!(tokens(text), ["a", "\"\"", "\"\"", "\"\"", "\"\"", "\"\"", ":", "l", "::", "<", ">"]);
}
