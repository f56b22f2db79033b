//! Every exported kernel, and the test that compares its values on the devices that there are: `tests/kernels.txt`.
//!
//! The list is held in three ways. Here, against the kernels' export lines. By `.ci/run`, against what the tests launched on
//! the emulator (`DDPM_LAUNCHED_KERNELS`). By `run-on-gpu`, against what they launched on a GPU.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../build/sources.rs"]
#[allow(dead_code)]
mod sources;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// Lines `FILE KERNEL TEST`.
fn list() -> Vec<[&'static str; 3]> {
    let lines = include_str!("kernels.txt").lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>().try_into());
    words.map(|line| line.unwrap_or_else(|line| panic!("{line:?}: wanted `FILE KERNEL TEST`"))).collect()
}

#[test]
fn every_exported_kernel_has_its_test() {
    let sources = sources::find(&root().join("kernels")).unwrap();
    let of_file = |source: &sources::Source| {
        let names = source.exports.iter().map(|export| format!("{} {}", source.name, export.name));
        names.collect::<Vec<_>>()
    };
    let exported: BTreeSet<String> = sources.iter().flat_map(of_file).collect();
    let listed: BTreeSet<String> = list().iter().map(|[file, kernel, _]| format!("{file} {kernel}")).collect();
    let untested: Vec<_> = exported.difference(&listed).collect();
    assert!(untested.is_empty(), "no test compares the values of {untested:#?}");
    let gone: Vec<_> = listed.difference(&exported).collect();
    assert!(gone.is_empty(), "tests/kernels.txt lists what is not exported: {gone:#?}");
}

/// The file of a test is a part of its path: `engine::ops::silu::tests::f` stands in a file whose name begins with
/// `src/engine/ops/silu`; one without a path stands in `tests`.
#[test]
fn every_listed_test_is_there() {
    let mut files = Vec::new();
    for folder in ["src/engine", "tests"] {
        let mut folders = vec![root().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                    files.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    for test in list().iter().map(|[_, _, test]| test).collect::<BTreeSet<_>>() {
        let (folder, name) = match test.rsplit_once("::") {
            Some((module, name)) => {
                (format!("src/{}", module.split("::tests").next().unwrap().replace("::", "/")), name)
            }
            None => ("tests/".into(), *test),
        };
        let function = format!("fn {name}() {{");
        let is_there = files.iter().any(|(file, text)| file.starts_with(&folder) && text.contains(&function));
        assert!(is_there, "tests/kernels.txt names {test}, which is not in {folder}");
    }
}
