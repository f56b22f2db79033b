//! Machine code of this binary and the GPUs that run it.

/// Returns the architecture, such as `sm_80`, whose machine code a GPU of this compute capability runs: of the same major
/// version, and no later one. `sm_90a` serves 9.0 alone. `None`: the driver compiles the kernels from PTX.
fn serving<'a>(architectures: &[&'a str], (major, minor): (u32, u32)) -> Option<&'a str> {
    let serves = |arch: &&&str| {
        let number = arch.trim_start_matches("sm_");
        match (number.strip_suffix('a'), number.parse::<u32>()) {
            (Some(exact), _) => exact == format!("{major}{minor}"),
            (None, Ok(number)) => number / 10 == major && number % 10 <= minor,
            (None, Err(_)) => false,
        }
    };
    // The closest: a later one of the same major version may use more of the GPU.
    architectures.iter().filter(serves).max().copied()
}

/// Returns what a user should know of the kernels that a GPU of this compute capability runs; empty where they were compiled for
/// it.
pub(super) fn note(architectures: &[&str], (major, minor): (u32, u32)) -> String {
    let mut sentences = Vec::new();
    if serving(architectures, (major, minor)).is_none() {
        sentences.push(format!(
            "this program has machine code for {} and none for compute capability {major}.{minor}: the driver compiles each \
             kernel file when it is first used, which takes minutes once, and keeps the result in ~/.nv/ComputeCache; \
             building with DDPM_CUDA_ARCHS={major}{minor} avoids that",
            architectures.join(", ")
        ));
    }
    if (major, minor) > (9, 0) {
        sentences.push(
            "the kernels written for Hopper (compute capability 9.0) do not run on later GPUs: those for Ampere are used"
                .into(),
        );
    }
    sentences.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: [&str; 4] = ["sm_80", "sm_90a", "sm_100", "sm_120"];

    #[test]
    fn code_serves_the_same_major_version_and_later_minor_ones() {
        let served = [
            ((8, 0), Some("sm_80")),
            ((8, 6), Some("sm_80")),
            ((8, 9), Some("sm_80")),
            ((9, 0), Some("sm_90a")),
            ((10, 0), Some("sm_100")),
            ((10, 3), Some("sm_100")),
            ((11, 0), None),
            ((12, 1), Some("sm_120")),
            ((13, 0), None),
        ];
        for (capability, arch) in served {
            assert_eq!(serving(&BUILT, capability), arch, "{capability:?}");
        }
        assert_eq!(serving(&["sm_86", "sm_80", "sm_89"], (8, 7)), Some("sm_86"));
        assert_eq!(serving(&["sm_86", "sm_90a"], (8, 0)), None);
    }

    #[test]
    fn what_is_not_as_it_was_compiled_is_said() {
        assert_eq!(note(&BUILT, (8, 9)), "");
        assert_eq!(note(&BUILT, (9, 0)), "");
        let blackwell = note(&BUILT, (12, 0));
        assert!(
            blackwell.starts_with("the kernels written for Hopper") && !blackwell.contains("compiles"),
            "{blackwell}"
        );
        let later = note(&BUILT, (13, 0));
        assert!(later.contains("DDPM_CUDA_ARCHS=130") && later.contains("for Hopper"), "{later}");
        assert!(note(&BUILT[..2], (10, 0)).contains("sm_80, sm_90a and none for compute capability 10.0"));
    }
}
