use crate::ch14_waves::waves;

/// Plays the scheduler: a block goes to the place that is free first. Returns when the last one ends, each taking a unit of
/// time, and the part of the places' time in which they had a block.
fn played(blocks: u64, places: u64) -> (u64, f64) {
    let mut free_at = vec![0u64; places as usize];
    for _ in 0..blocks {
        *free_at.iter_mut().min().unwrap() += 1;
    }
    let end = *free_at.iter().max().unwrap();
    let busy: u64 = free_at.iter().sum();
    (end, busy as f64 / (end * places) as f64)
}

#[test]
fn waves_are_those_of_a_scheduler() {
    for (blocks, places) in [(1, 1), (132, 132), (133, 132), (264, 264), (265, 264), (1024, 132), (5, 7), (512, 396)] {
        let (got, want) = (waves(blocks, places), played(blocks, places));
        assert_eq!(got.0, want.0, "waves of {blocks} blocks in {places} places");
        assert!((got.1 - want.1).abs() <= 1e-12, "{blocks} blocks in {places} places: {} used, not {}", got.1, want.1);
    }
}
