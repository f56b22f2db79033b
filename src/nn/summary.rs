//! The layers of a network and their cost: the nodes of its forward pass, without running anything.

use super::{Forward, ModelConfig, Network, ParamSet, Weights};
use crate::Result;
use crate::engine::tape::{Backend, Op, Tape};
use crate::engine::tensor::{DType, Store};

/// A node of the forward pass of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// The layer's name if it has parameters, else the op's, after two blanks.
    pub name: String,
    /// Shape of the result.
    pub dims: Vec<usize>,
    /// Numbers that are learned.
    pub parameters: usize,
    /// Floating-point operations, a multiply-add as two.
    pub flops: u64,
}

/// Lists the nodes in the order in which they run, for an image of the configured size.
///
/// # Errors
/// An impossible configuration.
pub fn summary(model: &ModelConfig) -> Result<Vec<SummaryRow>> {
    let mut params = ParamSet::default();
    let network = Network::new(model, &mut params)?;
    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, &params, DType::F32, false);
    let [h, w, c] = model.sample_dims();
    let (image, time) = (store.tensor(&[1, h, w, c], DType::F32), store.tensor(&[1], DType::F32));
    let label = (model.classes() > 0).then(|| store.tensor(&[1], DType::I32));
    let mut tape = Tape::new(Backend::Cpu, DType::F32);
    network.forward(&mut Forward::evaluate(&mut tape, &weights), image, time, label);
    Ok(tape.nodes().iter().map(|node| row(node.as_ref(), &params, &weights)).collect())
}

fn row(node: &dyn Op, params: &ParamSet, weights: &Weights) -> SummaryRow {
    let operands = node.inputs();
    let used: Vec<_> = params.iter().filter(|param| operands.contains(&weights.view(param))).collect();
    SummaryRow {
        name: used.first().map_or_else(|| format!("  {}", node.name()), |param| param.layer()),
        dims: node.outputs()[0].dims(),
        parameters: used.iter().map(|param| param.numel()).sum(),
        flops: node.flops(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Downsample, ImageSize, UNetConfig, Upsample};

    #[test]
    fn the_rows_hold_every_parameter_and_product() {
        let unet64 = UNetConfig {
            image_size: ImageSize::from(64),
            channels: vec![64, 128, 192, 256],
            attention_levels: vec![2, 3],
            head_dim: 32,
            downsample: Downsample::AvgPool,
            upsample: Upsample::Nearest,
            ..UNetConfig::default()
        };
        // Parameters and forward GFLOP of an image.
        for (config, parameters, gflop) in [(UNetConfig::default(), 35_746_307, 12.44), (unet64, 20_494_211, 12.92)] {
            let rows = summary(&config.clone().into()).unwrap();
            assert_eq!(rows.iter().map(|row| row.parameters).sum::<usize>(), parameters, "{config:?}");
            let sum = rows.iter().map(|row| row.flops).sum::<u64>() as f64 / 1e9;
            assert!((sum - gflop).abs() <= 0.005, "{config:?}: {sum} GFLOP");
        }
    }
}
