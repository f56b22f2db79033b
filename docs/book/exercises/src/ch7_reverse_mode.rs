//! Exercise 7.1: reverse mode on a tape of single numbers.

/// A node of the tape. Operands are numbers of earlier nodes.
pub enum Node {
    /// An input of the program.
    Input(f64),
    /// `a + b`
    Add(usize, usize),
    /// `a * b`
    Mul(usize, usize),
    /// `a s(a)`, with the logistic function s.
    Silu(usize),
}

/// The values of all nodes.
pub fn forward(tape: &[Node]) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::new();
    for node in tape {
        values.push(match *node {
            Node::Input(x) => x,
            Node::Add(a, b) => values[a] + values[b],
            Node::Mul(a, b) => values[a] * values[b],
            Node::Silu(a) => values[a] / (1.0 + (-values[a]).exp()),
        });
    }
    values
}

/// The derivatives of the last node by every node, the last itself among them. One walk over the tape, backwards; a node may
/// have several consumers.
pub fn backward(tape: &[Node]) -> Vec<f64> {
    let _ = forward(tape);
    todo!("exercise 7.1")
}
