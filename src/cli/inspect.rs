//! `ddpm inspect`: what a model is made of and what it costs, without allocating or training anything.

use super::config::ConfigArgs;
use super::terminal::{megabytes, say};
use crate::Result;
use crate::nn::summary::{SummaryRow, summary};
use crate::nn::{Network, ParamSet, Weights};
use crate::tape::Backend;
use crate::tensor::{DType, Store};
use crate::train::model_file::network;
use crate::train::program::{PartInputs, record_part};
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
    let layers = summary(&config.model)?;
    let flops: u64 = layers.iter().map(|layer| layer.flops).sum();
    let (training_bytes, arena_bytes) = training_memory(&config, &network, &params);

    if args.json {
        say(json!({
            "parameters": params.count(),
            "forward_gflop_per_image": flops as f64 / 1e9,
            "arena_bytes": arena_bytes,
            "persistent_bytes": training_bytes,
            "batch_images": config.train.micro_batch(),
            "layers": layers.iter().map(json_row).collect::<Vec<_>>(),
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
        megabytes(training_bytes),
        megabytes(arena_bytes),
        config.train.micro_batch()
    ));
    Ok(())
}

fn json_row(row: &SummaryRow) -> Value {
    json!({ "name": row.name, "output": row.dims, "parameters": row.parameters, "flops": row.flops })
}

/// Bytes that outlive a training step, and bytes of its arena.
fn training_memory(config: &Config, network: &Network, params: &ParamSet) -> (u64, u64) {
    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, params, DType::F32, true);
    let arrays = 3 + u64::from(config.train.accumulate > 1);
    let inputs = PartInputs::reserve(&mut store, &config.model, config.train.micro_batch());
    let (tape, _) = record_part((Backend::Cpu, DType::F32), network, &weights, &inputs, None);
    (store.bytes() + arrays * 4 * params.flat_len() as u64, tape.plan().bytes)
}
