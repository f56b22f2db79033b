//! Exercises 13.1 and 13.2: softmax in pieces, and its gradient.

/// What a query has seen of its keys so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The highest score.
    pub highest: f64,
    /// Sum of `exp(score - highest)`.
    pub sum: f64,
    /// Sum of `exp(score - highest)` times the key's value, for each dimension.
    pub out: Vec<f64>,
}

impl Seen {
    /// Of no key.
    pub fn nothing(dims: usize) -> Seen {
        Seen { highest: f64::NEG_INFINITY, sum: 0.0, out: vec![0.0; dims] }
    }

    /// Takes in a tile of keys: their scores, and a value of `out.len()` dimensions for each. There is at least one.
    pub fn take_in(&mut self, scores: &[f64], values: &[Vec<f64>]) {
        let _ = (scores, values);
        todo!("exercise 13.1")
    }
}

/// `ds`, the gradient of the scores of one query: from its probabilities, from `dp` (the gradient of these), and from the
/// query's result `out` and its gradient `dout`. No sum over the keys is needed.
pub fn gradient_of_scores(p: &[f64], dp: &[f64], out: &[f64], dout: &[f64]) -> Vec<f64> {
    let _ = (p, dp, out, dout);
    todo!("exercise 13.2")
}
