use crate::ch13_softmax::{Seen, gradient_of_scores};

const KEYS: usize = 23;
const DIMS: usize = 5;

fn number(i: usize) -> f64 {
    ((i * 61 + 17) % 113) as f64 / 16.0 - 3.5
}

fn scores() -> Vec<f64> {
    (0..KEYS).map(number).collect()
}

fn values() -> Vec<Vec<f64>> {
    (0..KEYS).map(|k| (0..DIMS).map(|d| number(k * 7 + d * 31 + 3)).collect()).collect()
}

fn probabilities(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::MIN, f64::max);
    let parts: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
    parts.iter().map(|p| p / parts.iter().sum::<f64>()).collect()
}

fn attention(scores: &[f64], values: &[Vec<f64>]) -> Vec<f64> {
    let p = probabilities(scores);
    (0..DIMS).map(|d| p.iter().zip(values).map(|(p, v)| p * v[d]).sum()).collect()
}

#[test]
fn any_cut_into_tiles_gives_the_softmax() {
    for shift in [0.0, 1e4, -1e4] {
        let scores: Vec<f64> = scores().iter().map(|s| s + shift).collect();
        let want = attention(&scores, &values());
        for tile in [1, 2, 5, 8, KEYS] {
            let mut seen = Seen::nothing(DIMS);
            for (scores, values) in scores.chunks(tile).zip(values().chunks(tile)) {
                seen.take_in(scores, values);
            }
            for (out, want) in seen.out.iter().zip(&want) {
                assert!((out / seen.sum - want).abs() < 1e-12, "tiles of {tile}, scores about {shift}");
            }
            let lse = scores.iter().map(|s| (s - seen.highest).exp()).sum::<f64>().ln() + seen.highest;
            assert!((seen.highest + seen.sum.ln() - lse).abs() < 1e-9);
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_definition() {
    let (scores, values) = (scores(), values());
    let dout: Vec<f64> = (0..DIMS).map(|d| number(d + 50)).collect();
    let loss = |scores: &[f64]| -> f64 { attention(scores, &values).iter().zip(&dout).map(|(a, b)| a * b).sum() };
    let dp: Vec<f64> = values.iter().map(|v| v.iter().zip(&dout).map(|(a, b)| a * b).sum()).collect();
    let ds = gradient_of_scores(&probabilities(&scores), &dp, &attention(&scores, &values), &dout);
    const STEP: f64 = 1e-5;
    for k in 0..KEYS {
        let moved = |by: f64| {
            let mut scores = scores.clone();
            scores[k] += by;
            loss(&scores)
        };
        let want = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!((ds[k] - want).abs() < 1e-8, "key {k}: {} not {want}", ds[k]);
    }
    assert!(ds.iter().sum::<f64>().abs() < 1e-12, "adding a number to all scores changes nothing");
}
