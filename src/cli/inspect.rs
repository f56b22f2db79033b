//! `ddpm inspect`: the layers of a model and their cost, without allocating or training anything.

use super::config::ConfigArgs;
use super::memory_plan;
use super::terminal::{megabytes, say};
use crate::engine::tape::Backend;
use crate::engine::tensor::DType;
use crate::nn::summary::{SummaryRow, summary};
use crate::train::memory::TrainingMemory;
use crate::train::model_file::network;
use crate::train::{ModelFile, Which};
use anyhow::Result;
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
    /// Draw where the activations of a training step lie in memory, and when, as SVG
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<()> {
    let saved = args.model.as_ref().map(|path| ModelFile::open(path, &Which::Average)).transpose()?;
    let config = args.config.resolve(saved.as_ref().map(|model| &model.config))?;
    config.validate()?;
    let (network, params) = network(&config)?;
    let layers = summary(&config.model)?;
    let flops: u64 = layers.iter().map(|layer| layer.flops).sum();
    let memory = TrainingMemory::of(&config, (&network, &params), (Backend::Cpu, DType::F32))?;
    if let Some(file) = &args.plan {
        memory_plan::plot(&memory.arena).write(file)?;
    }

    if args.json {
        say(json!({
            "parameters": params.count(),
            "forward_gflop_per_image": flops as f64 / 1e9,
            "arena_bytes": memory.arena.plan.bytes,
            "persistent_bytes": memory.persistent_bytes,
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
        megabytes(memory.persistent_bytes),
        megabytes(memory.arena.plan.bytes),
        config.train.micro_batch()
    ));
    Ok(())
}

fn json_row(row: &SummaryRow) -> Value {
    json!({ "name": row.name, "output": row.dims, "parameters": row.parameters, "flops": row.flops })
}
