//! Parameters of a model: their names and shapes, their places in flat arrays, and the handles that layers compute with.
//!
//! All parameters share flat arrays of one layout: weights, gradients, both Adam moments, the moving average, bf16
//! copies. So the optimiser is one launch, and all gradients are one contiguous range.

use crate::Result;
use crate::engine::tape::{Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};

/// Alignment of every parameter in elements: 256 bytes in f32, 128 in bf16.
const ALIGN_ELEMENTS: usize = 64;

/// The initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in +-bound.
    Uniform(f32),
    /// Standard normal.
    Normal,
    /// All equal.
    Constant(f32),
}

/// One tensor of a parameter as files know it: fused projections are several tensors on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name in files, e.g. `mid_block.attentions.0.to_q.weight`.
    pub name: String,
    /// Rows (first dimension) of the parameter that it covers.
    pub rows: usize,
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Dimensions in memory: `[c_out, kh, kw, c_in]`, `[c_out, c_in]` or `[c]`.
    pub dims: Vec<usize>,
    /// Tensors in files, in order of rows.
    pub parts: Vec<Part>,
    /// Initial values.
    pub init: Init,
    /// First element in the flat arrays.
    pub offset: usize,
    /// True for weight matrices, of which kernels read a bf16 copy; they read the f32 values of biases and norms.
    pub is_matrix: bool,
}

impl Param {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.dims.iter().product()
    }

    /// The layer that it is part of, e.g. `mid_block.attentions.0.to_q, to_k, to_v` of a fused projection, or
    /// `time_emb_proj` of those of all blocks.
    pub fn layer(&self) -> String {
        let layer = |part: &Part| part.name.rsplit_once('.').map_or(part.name.clone(), |(layer, _)| layer.to_owned());
        let last = |part: &Part| layer(part).rsplit('.').next().unwrap_or_default().to_owned();
        let (first, further) = (&self.parts[0], &self.parts[1..]);
        if !further.is_empty() && further.iter().all(|part| last(part) == last(first)) {
            return last(first);
        }
        further.iter().fold(layer(first), |name, part| format!("{name}, {}", last(part)))
    }
}

/// Index of a parameter in its [`ParamSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(usize);

/// All parameters of a model, in the order in which its layers registered them.
#[derive(Clone, Debug, Default)]
pub struct ParamSet {
    params: Vec<Param>,
    flat_len: usize,
}

impl ParamSet {
    /// Registers a parameter that is one tensor in files.
    pub fn add(&mut self, name: impl Into<String>, dims: &[usize], init: Init) -> ParamId {
        self.add_fused(vec![Part { name: name.into(), rows: dims[0] }], dims, init)
    }

    /// Registers a parameter that is several tensors in files, stacked along the first dimension.
    pub fn add_fused(&mut self, parts: Vec<Part>, dims: &[usize], init: Init) -> ParamId {
        assert_eq!(parts.iter().map(|p| p.rows).sum::<usize>(), dims[0]);
        let param = Param { dims: dims.into(), parts, init, offset: self.flat_len, is_matrix: dims.len() > 1 };
        self.flat_len += param.numel().next_multiple_of(ALIGN_ELEMENTS);
        self.params.push(param);
        ParamId(self.params.len() - 1)
    }

    /// The parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }

    /// Number of trainable values, padding not counted.
    pub fn count(&self) -> usize {
        self.params.iter().map(Param::numel).sum()
    }

    /// Length of the flat arrays, padding included.
    pub fn flat_len(&self) -> usize {
        self.flat_len
    }

    /// Makes the flat array of initial values: `fill(parameter, init, values)` writes those of each parameter.
    pub fn initial(&self, fill: impl Fn(usize, Init, &mut [f32])) -> Vec<f32> {
        let mut flat = vec![0.0; self.flat_len];
        for (p, param) in self.params.iter().enumerate() {
            fill(p, param.init, &mut flat[param.offset..][..param.numel()]);
        }
        flat
    }

    /// Splits a flat array into the tensors that files hold: `(name, dims, values)` with convolutions as `[c_out, c_in, kh, kw]`.
    pub fn to_files(&self, flat: &[f32]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut tensors = Vec::new();
        for param in &self.params {
            let row: usize = param.dims[1..].iter().product();
            let mut rows = flat[param.offset..][..param.numel()].chunks_exact(row.max(1));
            for part in &param.parts {
                let mut values = Vec::with_capacity(part.rows * row);
                rows.by_ref().take(part.rows).for_each(|r| values.extend(channels_first(r, &param.dims)));
                tensors.push((part.name.clone(), file_dims(part.rows, &param.dims), values));
            }
        }
        tensors
    }

    /// Gathers a flat array from the tensors that files hold: `get(name, dims)` gives each tensor's values. The array grows
    /// with what was found: a network that a damaged configuration makes huge takes no more memory than the file.
    ///
    /// # Errors
    /// The error of `get` for a missing or misshapen tensor.
    pub fn from_files(&self, mut get: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let mut flat = Vec::new();
        for param in &self.params {
            let row: usize = param.dims[1..].iter().product::<usize>().max(1);
            let mut start = param.offset;
            for part in &param.parts {
                let values = get(&part.name, &file_dims(part.rows, &param.dims))?;
                flat.resize(start + part.rows * row, 0.0);
                for (to, from) in flat[start..].chunks_exact_mut(row).zip(values.chunks_exact(row)) {
                    channels_last(to, from, &param.dims);
                }
                start = flat.len();
            }
        }
        flat.resize(self.flat_len, 0.0);
        Ok(flat)
    }
}

/// Dimensions in files of `rows` rows of a parameter.
fn file_dims(rows: usize, dims: &[usize]) -> Vec<usize> {
    match *dims {
        [_, kh, kw, c_in] => vec![rows, c_in, kh, kw],
        _ => [&[rows], &dims[1..]].concat(),
    }
}

/// One row `[kh, kw, c_in]` as `[c_in, kh, kw]`; other rows unchanged.
fn channels_first(row: &[f32], dims: &[usize]) -> Vec<f32> {
    let &[_, kh, kw, c_in] = dims else { return row.to_vec() };
    (0..c_in).flat_map(|c| (0..kh * kw).map(move |tap| row[tap * c_in + c])).collect()
}

/// The inverse of [`channels_first`].
fn channels_last(to: &mut [f32], from: &[f32], dims: &[usize]) {
    let &[_, kh, kw, c_in] = dims else { return to.copy_from_slice(from) };
    for c in 0..c_in {
        for tap in 0..kh * kw {
            to[tap * c_in + c] = from[c * kh * kw + tap];
        }
    }
}

/// One set of values of all parameters, as layers read it.
#[derive(Clone, Debug)]
pub struct Weights {
    params: ParamSet,
    /// f32 values `[flat_len]`.
    pub values: Tensor,
    /// bf16 copy `[flat_len]`; absent where activations are f32.
    pub copy: Tensor,
    /// f32 gradients `[flat_len]`; absent for weights that are only used.
    pub gradients: Tensor,
}

impl Weights {
    /// Reserves the flat arrays.
    pub fn reserve(store: &mut Store, params: &ParamSet, dtype: DType, with_gradients: bool) -> Weights {
        let n = [params.flat_len()];
        let values = store.tensor(&n, DType::F32);
        let copy = if dtype == DType::Bf16 { store.tensor(&n, dtype) } else { Tensor::EMPTY };
        let gradients = if with_gradients { store.tensor(&n, DType::F32) } else { Tensor::EMPTY };
        Weights { params: params.clone(), values, copy, gradients }
    }

    /// Writes all values, and their bf16 copy where there is one.
    ///
    /// # Errors
    /// The device's error.
    pub fn write(&self, session: &mut Session, flat: &[f32]) -> Result<()> {
        session.write(self.values, flat)?;
        if self.copy.is_empty() { Ok(()) } else { session.write(self.copy, flat) }
    }

    /// The same values for a network that is only evaluated.
    pub fn without_gradients(&self) -> Weights {
        Weights { gradients: Tensor::EMPTY, ..self.clone() }
    }

    /// The parameters to which the values belong.
    pub fn params(&self) -> &ParamSet {
        &self.params
    }

    /// A parameter's values as a kernel reads them.
    pub fn view(&self, param: &Param) -> Tensor {
        let source = if param.is_matrix && !self.copy.is_empty() { self.copy } else { self.values };
        Store::slice(source, param.offset, &param.dims)
    }

    /// The tensor with which a kernel computes. With gradients, it is declared to the tape as a parameter. What is
    /// recorded next belongs to its layer.
    pub fn tensor(&self, tape: &mut Tape, id: ParamId) -> Tensor {
        let param = &self.params.params[id.0];
        tape.enter_layer(&param.layer());
        let value = self.view(param);
        if !self.gradients.is_empty() && !tape.needs_grad(value) {
            tape.parameter(value, Store::slice(self.gradients, param.offset, &param.dims));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_memory_agree() {
        let mut params = ParamSet::default();
        params.add("conv.weight", &[5, 3, 3, 2], Init::Normal);
        let parts = ["q", "k", "v"].map(|n| Part { name: n.into(), rows: 3 });
        params.add_fused(parts.into(), &[9, 3], Init::Uniform(1.0));
        params.add("norm.weight", &[7], Init::Constant(1.0));
        let flat = params.initial(|p, _, values| {
            values.iter_mut().enumerate().for_each(|(i, v)| *v = (p * 100 + i) as f32);
        });
        let files = params.to_files(&flat);
        let names: Vec<_> = files.iter().map(|(n, d, _)| (n.as_str(), d.clone())).collect();
        let want = [("conv.weight", vec![5, 2, 3, 3]), ("q", vec![3, 3]), ("k", vec![3, 3]), ("v", vec![3, 3])];
        assert_eq!(names[..4], want);
        // Output channel 1, input channel 1, tap 4: element ((1 * 9 + 4) * 2 + 1) in memory.
        assert_eq!(files[0].2[(2 + 1) * 9 + 4], 27.0);
        let back = params
            .from_files(|name, dims| {
                let (_, d, values) = files.iter().find(|f| f.0 == name).unwrap();
                assert_eq!(d, dims);
                Ok(values.clone())
            })
            .unwrap();
        assert_eq!(back, flat);
        assert_eq!(params.count(), 90 + 27 + 7);
    }
}
