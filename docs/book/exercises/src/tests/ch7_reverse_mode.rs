use crate::ch7_reverse_mode::{Node, backward, forward};
use Node::{Add, Input, Mul, Silu};

/// The residual network of the chapter, on single numbers: x + w2 silu(w1 x), then squared.
fn tape(inputs: [f64; 3]) -> Vec<Node> {
    let [x, w1, w2] = inputs.map(Input);
    vec![x, w1, w2, Mul(1, 0), Silu(3), Mul(2, 4), Add(0, 5), Mul(6, 6)]
}

#[test]
fn gradients_are_central_differences() {
    let inputs = [0.7, -1.3, 2.1];
    let gradients = backward(&tape(inputs));
    for (i, got) in gradients.into_iter().take(inputs.len()).enumerate() {
        let at = |shift: f64| {
            let mut moved = inputs;
            moved[i] += shift;
            *forward(&tape(moved)).last().unwrap()
        };
        let want = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((got - want).abs() <= 1e-8, "input {i}: {got} instead of {want}");
    }
}

#[test]
fn every_consumer_adds_its_part() {
    // y = x x + x, seen by x twice as a factor and once as a term.
    let gradients = backward(&[Input(3.0), Mul(0, 0), Add(1, 0)]);
    assert_eq!(gradients, [7.0, 1.0, 1.0]);
}

#[test]
fn what_the_result_does_not_need_has_no_gradient() {
    let gradients = backward(&[Input(3.0), Input(4.0), Silu(1), Add(0, 0)]);
    assert_eq!(gradients, [2.0, 0.0, 0.0, 1.0]);
}
