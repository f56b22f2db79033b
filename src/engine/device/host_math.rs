//! Matrix products on the CPU, through the `gemm` crate.

use gemm::Parallelism;

/// A matrix to read: element `(i, j)` is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// Elements of a slice that a matrix with these sizes and strides reaches.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

impl<'a> MatRef<'a> {
    /// A matrix whose rows start `stride` elements apart.
    pub fn rows(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> MatRef<'a> {
        assert!(extent(rows, columns, stride, 1) <= data.len(), "{rows}x{columns} by {stride} in {}", data.len());
        MatRef { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The transposed matrix.
    pub fn transposed(self) -> MatRef<'a> {
        MatRef {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b` on the calling thread; the rows of `out` start `stride` elements apart. The result depends on the shapes
/// and values alone.
pub fn matmul(out: &mut [f32], stride: usize, a: MatRef, b: MatRef) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(b.rows, k, "product of {m}x{k} and {}x{n}", b.rows);
    assert!(stride >= n && extent(m, n, stride, 1) <= out.len(), "{m}x{n} by {stride} in {}", out.len());
    // SAFETY: every element that gemm reads or writes lies within `extent` of its slice: `out` was checked above, `a` and
    // `b` when they were made (transposing exchanges sizes and strides together). `out` is borrowed mutably, so it
    // overlaps neither; its rows do not overlap, as stride >= n.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            false,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_strided_and_transposed_matrices() {
        let a: Vec<f32> = (0..40).map(|i| i as f32 * 0.5 - 7.0).collect();
        let b: Vec<f32> = (0..60).map(|i| 3.0 - i as f32 * 0.25).collect();
        let (m, n, k) = (3, 4, 5);
        let mut out = vec![f32::NAN; 3 * 6];
        matmul(&mut out, 6, MatRef::rows(&a, m, k, 7), MatRef::rows(&b, n, k, 9).transposed());
        for i in 0..m {
            for j in 0..n {
                let want: f32 = (0..k).map(|p| a[i * 7 + p] * b[j * 9 + p]).sum();
                assert!((out[i * 6 + j] - want).abs() <= 1e-4, "({i}, {j}): {} not {want}", out[i * 6 + j]);
            }
        }
        assert!(out[4].is_nan() && out[5].is_nan(), "only the matrix is written");
    }

    #[test]
    #[should_panic(expected = "3x4 by 4 in 11")]
    fn a_matrix_that_does_not_fit_is_refused() {
        MatRef::rows(&[0.0; 11], 3, 4, 4);
    }
}
