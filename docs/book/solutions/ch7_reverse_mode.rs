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

/// The derivatives of the last node by every node.
pub fn backward(tape: &[Node]) -> Vec<f64> {
    let values = forward(tape);
    let mut gradients = vec![0.0; tape.len()];
    if let Some(last) = gradients.last_mut() {
        *last = 1.0;
    }
    for (i, node) in tape.iter().enumerate().rev() {
        // Complete: every consumer stands behind this node, and has been asked.
        let dy = gradients[i];
        match *node {
            Node::Input(_) => {}
            Node::Add(a, b) => {
                gradients[a] += dy;
                gradients[b] += dy;
            }
            Node::Mul(a, b) => {
                gradients[a] += dy * values[b];
                gradients[b] += dy * values[a];
            }
            Node::Silu(a) => {
                let x = values[a];
                let s = 1.0 / (1.0 + (-x).exp());
                gradients[a] += dy * s * (1.0 + x * (1.0 - s));
            }
        }
    }
    gradients
}
