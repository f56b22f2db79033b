//! The shape of an attention.

/// Images, tokens, heads, and dimensions of a head: `dk` of queries and keys, `dv` of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub n: usize,
    pub l: usize,
    pub heads: usize,
    pub dk: usize,
    pub dv: usize,
}

impl Shape {
    /// Columns of `qkv`.
    pub fn width(&self) -> usize {
        self.heads * (2 * self.dk + self.dv)
    }

    /// Where the queries, keys and values of a head begin among the columns of `qkv`.
    pub fn columns(&self, head: usize) -> [usize; 3] {
        [head * self.dk, (self.heads + head) * self.dk, 2 * self.heads * self.dk + head * self.dv]
    }

    pub fn scale(&self) -> f32 {
        1.0 / (self.dk as f32).sqrt()
    }

    /// Operations of products over `dims` head dimensions in all.
    pub fn product_flops(&self, dims: usize) -> u64 {
        2 * (self.n * self.heads * self.l) as u64 * (self.l * dims) as u64
    }
}
