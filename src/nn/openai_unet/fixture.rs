//! Checkpoints of improved-diffusion with any weights, for tests.

use super::{PROJECTIONS, layers};
use crate::nn::{Architecture, Init, ParamSet, UNetConfig};
use std::collections::HashMap;

/// A tensor by name: dimensions and values.
type Named = (String, Vec<usize>, Vec<f32>);

/// The tensors of a network that such a checkpoint can describe, with one head.
pub fn checkpoint(config: &UNetConfig) -> Vec<Named> {
    let mut params = ParamSet::default();
    config.build(&mut params).unwrap();
    let values = params.initial(|p, init, values| {
        for (i, value) in values.iter_mut().enumerate() {
            *value = if init == Init::Constant(1.0) { 1.0 } else { 0.1 * ((p * 131 + i) as f32).sin() };
        }
    });
    let names: HashMap<String, String> = layers(config).into_iter().map(|(theirs, ours)| (ours, theirs)).collect();
    let mut tensors: Vec<Named> = Vec::new();
    for (name, mut dims, values) in params.to_files(&values) {
        let (layer, kind) = name.rsplit_once('.').unwrap();
        match layer.rsplit_once('.').filter(|(_, part)| PROJECTIONS.contains(part)) {
            // The three parts follow each other.
            Some((block, part)) => {
                let theirs = format!("{}.{kind}", names[&format!("{block}.qkv")]);
                if part != PROJECTIONS[0] {
                    let (_, dims, all) = tensors.iter_mut().find(|(name, _, _)| *name == theirs).unwrap();
                    dims[0] += values.len() / dims[1..].iter().product::<usize>();
                    all.extend(values);
                } else {
                    dims.extend((kind == "weight").then_some(1));
                    tensors.push((theirs, dims, values));
                }
            }
            None => {
                dims.extend((layer.ends_with("to_out.0") && kind == "weight").then_some(1));
                tensors.push((format!("{}.{kind}", names[layer]), dims, values));
            }
        }
    }
    tensors
}
