//! `ddpm inspect`: what a model is made of and what it costs, without allocating or training anything.

use super::config::ConfigArgs;
use super::terminal::{megabytes, say};
use crate::Result;
use crate::nn::{Forward, Network, ParamSet, Weights};
use crate::tape::{Backend, Op, Tape};
use crate::tensor::{DType, Store};
use crate::train::memory::TrainingMemory;
use crate::train::model_file::network;
use crate::train::program::PartInputs;
use crate::train::{Config, ModelFile, Which};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A run, a checkpoint, or a diffusers model folder; or give --preset or --config
    #[arg(conflicts_with_all = ["preset", "config"])]
    model: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let saved = args.model.as_ref().map(|path| ModelFile::open(path, Which::Average)).transpose()?;
    let config = args.config.resolve(saved.as_ref().map(|model| &model.config))?;
    config.validate()?;
    let (network, params) = network(&config)?;
    let layers = layers(&config, &network, &params);
    let flops: u64 = layers.iter().map(|layer| layer.flops).sum();
    let memory = TrainingMemory::of(&config, (&network, &params), (Backend::Cpu, DType::F32));

    if args.json {
        say(json!({
            "parameters": params.count(),
            "forward_gflop_per_image": flops as f64 / 1e9,
            "arena_bytes": memory.arena_bytes,
            "persistent_bytes": memory.persistent_bytes,
            "batch_images": config.train.micro_batch(),
            "layers": layers.iter().map(Layer::json).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let width = layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
    say(format!("{:width$}  {:>18}  {:>12}  {:>10}", "layer", "output", "parameters", "MFLOP"));
    for layer in &layers {
        let (dims, mflop) = (format!("{:?}", layer.dims), layer.flops as f64 / 1e6);
        say(format!("{:width$}  {dims:>18}  {:>12}  {mflop:>10.2}", layer.name, layer.parameters));
    }
    say(format!("parameters  {}", params.count()));
    let (amount, unit) = if flops < 10_000_000 { (flops as f64 / 1e6, "MFLOP") } else { (flops as f64 / 1e9, "GFLOP") };
    say(format!("forward     {amount:.2} {unit} per image"));
    say(format!(
        "training    {} for weights, gradients and optimiser, {} for activations of {} images (f32, CPU)",
        megabytes(memory.persistent_bytes),
        megabytes(memory.arena_bytes),
        config.train.micro_batch()
    ));
    Ok(())
}

/// A node of the forward pass.
struct Layer {
    /// The layer's name if it has parameters, else the op's.
    name: String,
    dims: Vec<usize>,
    parameters: usize,
    flops: u64,
}

impl Layer {
    fn json(&self) -> Value {
        json!({ "name": self.name, "output": self.dims, "parameters": self.parameters, "flops": self.flops })
    }
}

/// The nodes of the forward pass of one image.
fn layers(config: &Config, network: &Network, params: &ParamSet) -> Vec<Layer> {
    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, params, DType::F32, false);
    let inputs = PartInputs::reserve(&mut store, &config.model, 1);
    let mut tape = Tape::new(Backend::Cpu, DType::F32);
    network.forward(&mut Forward::evaluate(&mut tape, &weights), inputs.images, inputs.time, inputs.labels);
    tape.nodes().iter().map(|node| layer(node.as_ref(), params, &weights)).collect()
}

fn layer(node: &dyn Op, params: &ParamSet, weights: &Weights) -> Layer {
    let operands = node.inputs();
    let used: Vec<_> = params.iter().filter(|param| operands.contains(&weights.view(param))).collect();
    Layer {
        name: used.first().map_or_else(|| format!("  {}", node.name()), |param| param.layer()),
        dims: node.outputs()[0].dims(),
        parameters: used.iter().map(|param| param.numel()).sum(),
        flops: node.flops(),
    }
}
