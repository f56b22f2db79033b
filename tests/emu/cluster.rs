//! Blocks that share what they load, with planted bugs. What correct kernels give is in tests/wrappers.rs.

use super::hopper::hopper;
use super::{EmuOptions, Launch, OnEmulator, schedules};
use crate::launch::hopper::SumInCluster;

fn run(kernel: &'static str, options: EmuOptions) -> Result<bool, String> {
    let sum = SumInCluster::new(kernel, 7);
    let result = sum.launch(&sum.operands()).run_floats(hopper(options));
    result.map(|out| out == sum.expected).map_err(|error| error.to_string())
}

/// Bugs that one order of the blocks hides and another shows.
#[cfg(not(ddpm_emu_sanitize = "thread"))]
#[test]
fn what_blocks_owe_each_other_is_caught() {
    for (kernel, least) in [("sum_in_cluster_no_first_meeting", 8), ("sum_in_cluster_peer_not_waited_for", 3)] {
        let caught = schedules().filter(|&options| run(kernel, options) != Ok(true)).count();
        assert!(caught >= least, "{kernel} was caught {caught} times");
    }
}

#[test]
fn misuse_of_a_cluster_is_an_error_that_names_the_place() {
    let cases: [(&str, &[&str]); 8] = [
        ("no_last_meeting", &["the block ended amid a phase, with 1 of 2 arrivals", "mbar_init"]),
        ("no_word_to_peer", &["deadlock: 1 threads wait in mbar_wait", "(block 1 of the cluster)"]),
        ("only_to_itself", &["deadlock: 1 threads wait in mbar_wait", "(block 1 of the cluster)"]),
        ("half_expected", &["deadlock: 1 threads wait in mbar_wait", "(block 1 of the cluster)"]),
        ("to_a_third", &["tma_load", "block 2 of a cluster that has 2"]),
        ("peer_has_ended", &["tma_load", "block 0 of the cluster has ended"]),
        ("arrives_twice", &["cluster_arrive", "thread 0 has not waited"]),
        ("never_waits", &["the mbarrier was not initialised"]),
    ];
    for (bug, wanted) in cases {
        if cfg!(ddpm_emu_sanitize = "thread") && bug == "half_expected" {
            continue; // and a race, which ends the process
        }
        let kernel = format!("sum_in_cluster_{bug}").leak();
        let error = run(kernel, EmuOptions::default()).unwrap_err();
        for text in wanted.iter().chain(&["kernels/self_test/cluster.cuh:", kernel]) {
            assert!(error.contains(text), "`{error}` does not say `{text}`");
        }
    }
}

#[test]
fn a_grid_consists_of_whole_clusters() {
    let sum = SumInCluster::new("sum_in_cluster_3d", 1);
    let operands = sum.operands();
    let error = Launch { grid: 3, ..sum.launch(&operands) }.run(hopper(EmuOptions::default())).unwrap_err().to_string();
    assert!(error.contains("a grid of 3 blocks along x, in clusters of 2"), "{error}");
}
