//! Exercises 7.2 and 7.3: who is alive, and where.

use ddpm::engine::tape::Lifetime;

/// The most bytes that are alive at one node.
pub fn most_alive(lives: &[Lifetime]) -> u64 {
    // The sum can only grow where a life begins.
    let alive =
        |node: usize| lives.iter().filter(|life| life.first <= node && node <= life.last).map(|life| life.bytes).sum();
    lives.iter().map(|life| alive(life.first)).max().unwrap_or(0)
}

/// An offset for each tensor, such that no two that are alive at the same node overlap.
pub fn offsets(lives: &[Lifetime]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lives[i].bytes));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        let meets = |j: &usize| lives[*j].first <= lives[i].last && lives[i].first <= lives[*j].last;
        let mut taken: Vec<(u64, u64)> =
            placed.iter().filter(|j| meets(j)).map(|&j| (offsets[j], offsets[j] + lives[j].bytes)).collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + lives[i].bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[i] = offset;
        placed.push(i);
    }
    offsets
}
