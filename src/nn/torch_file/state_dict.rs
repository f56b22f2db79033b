//! The tensors of a pickled state dict: which of them is which part of which storage.

use crate::pickle::{Object, Pickle};

/// Dicts in dicts that are looked into: training loops save `{"model": ..., "ema": ...}`.
const DEPTH: usize = 3;

const DICT: &str = "collections.OrderedDict";
const TENSOR: &str = "torch._utils._rebuild_tensor_v2";
const PARAMETER: &str = "torch._utils._rebuild_parameter";

/// The numbers of one storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Storage {
    pub key: String,
    /// Type in the pickle, such as `FloatStorage`.
    pub kind: String,
    pub len: usize,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    pub storage: Storage,
    pub dims: Vec<usize>,
    offset: usize,
    strides: Vec<usize>,
}

impl TensorView {
    /// The values in row-major order, of the numbers of the storage; nothing if they lie outside of it, or are more.
    pub fn gather(&self, number: impl Fn(usize) -> f32) -> Option<Vec<f32>> {
        let numel = self.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        if numel > self.storage.len {
            return None;
        }
        let mut index = vec![0; self.dims.len()];
        let mut values = Vec::with_capacity(numel);
        for _ in 0..numel {
            let mut steps = index.iter().zip(&self.strides);
            let at = steps.try_fold(self.offset, |at, (i, stride)| at.checked_add(usize::checked_mul(*i, *stride)?))?;
            values.push(if at < self.storage.len { number(at) } else { return None });
            for (i, dim) in index.iter_mut().zip(&self.dims).rev() {
                *i += 1;
                if *i < *dim {
                    break;
                }
                *i = 0;
            }
        }
        Some(values)
    }
}

/// Reads the tensors of a pickled state dict by name. Those of a dict within the dict have both names: `ema.conv.weight`.
pub(super) fn state_dict(pickle: &[u8]) -> Result<Vec<(String, TensorView)>, String> {
    let pickle = Pickle::read(pickle, &[DICT, TENSOR, PARAMETER])?;
    let (mut tensors, mut dicts) = (Vec::new(), vec![(String::new(), pickle.top())]);
    for _ in 0..DEPTH {
        for (prefix, dict) in std::mem::take(&mut dicts) {
            let Object::Dict(entries) = pickle.object(dict) else { continue };
            for &[key, value] in entries {
                let Some(name) = pickle.bytes(key).and_then(|key| std::str::from_utf8(key).ok()) else { continue };
                match (pickle.object(value), pickle.call(value)) {
                    (Object::Dict(_), _) => dicts.push((format!("{prefix}{name}."), value)),
                    // An ordered dict without entries.
                    (_, None | Some((DICT, ..))) => {}
                    _ => {
                        let tensor = tensor(&pickle, value);
                        let tensor = tensor.ok_or("the pickle is damaged: a tensor without storage or shape")?;
                        tensors.push((format!("{prefix}{name}"), tensor));
                    }
                }
            }
            // Each object has its place once; only a damaged file puts one dict into many.
            if tensors.len().max(dicts.len()) > pickle.len() {
                return Err("the pickle is damaged: a dict is in several others".into());
            }
        }
    }
    if tensors.is_empty() { Err("the file holds no dict of tensors".into()) } else { Ok(tensors) }
}

/// The tensor that a call makes, or the parameter that it makes of one.
fn tensor(pickle: &Pickle, place: usize) -> Option<TensorView> {
    let call = pickle.call(place)?;
    let call = if call.0 == PARAMETER { pickle.call(*call.1.first()?)? } else { call };
    let (TENSOR, &[storage, offset, dims, strides, ..], _) = call else { return None };
    let count = |place: &usize| usize::try_from(pickle.int(*place)?).ok();
    let counts = |place: usize| pickle.items(place)?.iter().map(count).collect::<Option<Vec<usize>>>();
    // `("storage", class, key, place, length)`
    let Object::Persistent(storage) = pickle.object(storage) else { return None };
    let &[_, class, key, _, len, ..] = pickle.items(*storage)? else { return None };
    let (Object::Global(class), Object::Text(key)) = (pickle.object(class), pickle.object(key)) else { return None };
    let kind = class.rsplit('.').next().unwrap_or_default().to_owned();
    let storage = Storage { key: (*key).to_owned(), kind, len: count(&len)? };
    let view = TensorView { storage, offset: count(&offset)?, dims: counts(dims)?, strides: counts(strides)? };
    (view.dims.len() == view.strides.len()).then_some(view)
}
