//! The program's version.

use build_info::COMMIT;
use std::sync::LazyLock;

/// Version and, where it is known, the commit: `0.1.0 (eda8cff012)`.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        COMMIT.map_or(version.into(), |commit| format!("{version} ({commit})"))
    });
    &VERSION
}
