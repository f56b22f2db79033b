//! Tests that need what a machine may lack: a C++ compiler, nvcc, a kind of processor.

/// Ends a test that cannot run here and prints the reason, which is formatted like a message of `println!`.
///
/// `DDPM_REQUIRE_TESTS=1` makes it a failure: where everything is checked nothing may be skipped. Tests on a GPU are not
/// skipped one by one; see [`check`](crate::engine::ops::check).
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        let reason = format!($($reason)+);
        let is_required = std::env::var("DDPM_REQUIRE_TESTS").is_ok_and(|v| v == "1");
        assert!(!is_required, "DDPM_REQUIRE_TESTS=1, but {reason}");
        eprintln!("skipped: {reason}");
        return;
    }};
}
