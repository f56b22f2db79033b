use crate::ch16_batches::batch;

#[test]
fn an_epoch_visits_no_sample_twice() {
    for (n, size) in [(12, 4), (13, 4), (7, 7), (100, 1)] {
        let steps = (n / size) as u64;
        for epoch in 0..3 {
            let mut seen: Vec<usize> = (0..steps).flat_map(|i| batch(n, size, 5, epoch * steps + i)).collect();
            assert_eq!(seen.len(), n / size * size, "{n} samples, {size} at a time");
            assert!(seen.iter().all(|&i| i < n));
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{n} samples, {size} at a time: one was seen twice");
        }
    }
}

#[test]
fn a_run_that_is_resumed_sees_what_it_would_have_seen() {
    let whole: Vec<Vec<usize>> = (0..40).map(|step| batch(50, 8, 1, step)).collect();
    for start in [39, 7, 23] {
        let resumed: Vec<Vec<usize>> = (start..40).map(|step| batch(50, 8, 1, step)).collect();
        assert_eq!(resumed, whole[start as usize..], "from step {start}");
    }
}

#[test]
fn epochs_and_seeds_have_orders_of_their_own() {
    let order = |seed, epoch: u64| -> Vec<usize> { (0..8).flat_map(|i| batch(64, 8, seed, 8 * epoch + i)).collect() };
    let mut orders: Vec<Vec<usize>> = (0..4).flat_map(|seed| (0..4).map(move |epoch| order(seed, epoch))).collect();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 16, "two of them are equal");
}
