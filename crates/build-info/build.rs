//! Asks git for the commit. A crate of its own, so that kernels are not compiled anew to learn it; and only where sources
//! have changed, so that a commit alone is no reason to compile anything: the state of the sources is what is named.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for path in ["src", "kernels", "build.rs", "build", "crates", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo::rerun-if-env-changed=DDPM_COMMIT");
    let given = std::env::var("DDPM_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(|| commit(&root)) {
        println!("cargo::rustc-env=DDPM_COMMIT={commit}");
    }
}

/// The commit of the repository in `root`; `None` without git, or where the sources lie in another repository.
fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed { commit + ", changed" } else { commit })
}
