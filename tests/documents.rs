//! The pages for contributors: every link leads to a file, and names in backquotes are defined where they link to.

use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 5] = [
    "docs/CONTRIBUTING.md",
    "docs/contributing/book.md",
    "docs/contributing/data.md",
    "docs/contributing/diffusion.md",
    "docs/formats.md",
];

/// Text and target of each link to a file, with the line on which it stands.
fn links(document: &str) -> Vec<(String, String)> {
    let ends = document.match_indices("](").filter_map(|(at, _)| {
        let text = document[..at].rsplit_once('[')?.1;
        let target = document[at + 2..].split_once(')')?.0;
        let is_file = !target.starts_with('#') && !target.starts_with("http");
        is_file.then(|| (text.to_owned(), target.split('#').next().unwrap_or(target).to_owned()))
    });
    ends.collect()
}

#[test]
fn links_lead_to_files_and_to_what_they_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for page in PAGES {
        let path = root.join(page);
        let document = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{page}: {e}"));
        for (text, target) in links(&document) {
            let file: PathBuf = path.parent().expect("a folder").join(&target);
            assert!(file.exists(), "{page}: {target} does not exist");
            count += 1;
            let Some(name) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { continue };
            if !name.contains(['.', '/']) {
                let code = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{target}: {e}"));
                let kinds = ["fn ", "struct ", "enum ", "trait "];
                assert!(kinds.iter().any(|kind| code.contains(&format!("{kind}{name}"))), "{target} has no {name}");
            }
        }
    }
    assert!(count >= 40, "{count} links");
}
