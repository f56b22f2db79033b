//! The commit that the program was built from.

/// The commit, followed by ", changed" where files differed from it; `None` where git could not tell.
pub const COMMIT: Option<&str> = option_env!("DDPM_COMMIT");
