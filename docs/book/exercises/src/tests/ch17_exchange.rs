use crate::ch17_exchange::{Exchange, exchanges};
use std::ops::Range;

/// Values whose sum depends on the order.
fn values(rank: usize, n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + rank * 1009) as f32).sin() * 10f32.powi((i + rank) as i32 % 9)).collect()
}

/// The sum of ranks `first..first + count` as a tree.
fn tree(first: usize, count: usize, n: usize) -> Vec<f32> {
    if count == 1 {
        return values(first, n);
    }
    let (left, right) = (tree(first, count / 2, n), tree(first + count / 2, count / 2, n));
    left.iter().zip(&right).map(|(a, b)| a + b).collect()
}

/// Plays the ranks. Returns what each has in the end: values, and which of them are its own; and how many values it sent.
fn played(ranks: usize, n: usize) -> Vec<(Vec<f32>, Range<usize>, usize)> {
    let plans: Vec<Vec<Exchange>> = (0..ranks).map(|rank| exchanges(rank, ranks, n)).collect();
    let mut all: Vec<_> = (0..ranks).map(|rank| (values(rank, n), 0..n, 0)).collect();
    for level in 0..ranks.ilog2() as usize {
        let of = |rank: usize| plans[rank].get(level).expect("too few exchanges");
        let before = all.clone();
        for (rank, (mine, own, sent)) in all.iter_mut().enumerate() {
            let Exchange { partner, keeps } = of(rank).clone();
            let theirs = of(partner);
            assert_eq!(theirs.partner, rank, "rank {rank} waits for {partner}, which waits for another");
            assert_eq!(before[partner].1, *own, "ranks {rank} and {partner} do not have the same part");
            assert!(own.start <= keeps.start && keeps.end <= own.end, "rank {rank} keeps what it does not have");
            assert!(
                own.clone().all(|i| keeps.contains(&i) != theirs.keeps.contains(&i)),
                "both keep a value, or none does"
            );
            keeps.clone().for_each(|i| mine[i] += before[partner].0[i]);
            *sent += own.len() - keeps.len();
            *own = keeps;
        }
    }
    assert!(plans.iter().all(|plan| plan.len() == ranks.ilog2() as usize), "too many exchanges");
    all
}

#[test]
fn each_rank_gets_its_slice_of_the_sum_of_the_tree() {
    for ranks in [1, 2, 4, 8, 16] {
        for n in [0, 1, 7, 64, 1000] {
            let (wanted, mut got) = (tree(0, ranks, n), vec![0; n]);
            for (rank, (values, own, _)) in played(ranks, n).into_iter().enumerate() {
                for i in own {
                    assert_eq!(values[i].to_bits(), wanted[i].to_bits(), "value {i} of {n}, rank {rank} of {ranks}");
                    got[i] += 1;
                }
            }
            assert!(got.iter().all(|&ranks| ranks == 1), "{ranks} ranks, {n} values: not everyone's slice is its own");
        }
    }
}

#[test]
fn a_rank_sends_less_than_its_values_once() {
    for ranks in [2, 4, 8, 16] {
        let n = 1 << 10;
        for (rank, (_, _, sent)) in played(ranks, n).into_iter().enumerate() {
            assert_eq!(sent, n / ranks * (ranks - 1), "rank {rank} of {ranks}");
        }
    }
}
