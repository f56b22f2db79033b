//! Exercise 15.2: the kernel distance.

/// The estimate without bias of the kernel distance of two sets `x [n, dims]` and `y [n, dims]`.
pub fn kernel_distance(x: &[f32], y: &[f32], dims: usize) -> f64 {
    let kernel = |a: &[f32], b: &[f32]| {
        let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        (product / dims as f64 + 1.0).powi(3)
    };
    let mean = |a: &[f32], b: &[f32], is_same: bool| {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (i, a) in a.chunks_exact(dims).enumerate() {
            for (j, b) in b.chunks_exact(dims).enumerate() {
                if !is_same || i != j {
                    sum += kernel(a, b);
                    pairs += 1.0;
                }
            }
        }
        sum / pairs
    };
    mean(x, x, true) + mean(y, y, true) - 2.0 * mean(x, y, false)
}
