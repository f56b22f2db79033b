//! `ddpm profile`

use super::config::ConfigArgs;
use super::terminal::{megabytes, open_device, say};
use crate::Error;
use crate::engine::device::Capability;
use crate::engine::tape::Backend;
use crate::engine::tensor::DType;
use crate::files::check_writable;
use crate::profile::{Machine, Profile, Row, Step, Total, measure_or_known, trace};
use crate::report::{Table, digits};
use crate::train::Config;
use crate::train::config::Precision;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  ddpm profile                                            the quickstart's training step on this machine
  ddpm profile --preset ddpm-cifar10 --batch-size 128 --device cuda --trace step.json
  ddpm profile --preset ddpm-cifar10 --batch-size 128 --model h200    predicted: needs no GPU, runs nothing

A trace opens in https://ui.perfetto.dev. More than 100 % of the ceiling: operands that were in a cache, or a\nconvolution that Winograd's algorithm does with fewer operations than are counted.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Steps to measure; the median of each launch counts
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Predict the step in bf16 on a GPU that is not here, without running or allocating anything: h200
    #[arg(long, value_name = "GPU")]
    model: Option<String>,
    /// With --model: what convolutions and linear layers are expected to reach
    #[arg(long, default_value_t = 550.0, value_name = "TFLOP/S", requires = "model")]
    conv_tflops: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write the step as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    let config = args.config.resolve(None)?;
    args.trace.as_deref().map_or(Ok(()), check_writable).context("--trace")?;
    let profile = match &args.model {
        Some(model) => predicted(&config, model, args.conv_tflops)?,
        None => measured(&config, device, args.rounds)?,
    };
    if let Some(path) = &args.trace {
        fs::write(path, trace(&profile).to_string()).map_err(Error::io(path)).context("--trace")?;
    }
    let times = match (&args.model, profile.machine.name.starts_with("emu")) {
        (Some(_), _) => "predicted",
        (None, true) => "of the emulation, not of a GPU",
        (None, false) => "measured",
    };
    if args.json {
        say(json(&profile, &args.config.name(), times));
    } else {
        text(&profile, &args.config.name(), times);
    }
    Ok(())
}

/// Backend that the step of a modelled GPU is recorded for.
const H200: Backend = Backend::Gpu(Capability::Hopper);

fn predicted(config: &Config, model: &str, conv_tflops: f64) -> Result<Profile> {
    if !(conv_tflops > 0.0 && conv_tflops.is_finite()) {
        bail!(Error::Config(format!("--conv-tflops {conv_tflops}: wanted a positive number")));
    }
    let machine = Machine::model(model, conv_tflops)?;
    if config.train.precision == Precision::F32 {
        bail!(Error::Config("train.precision = \"f32\": the model of a GPU is one of bf16".into()));
    }
    Ok(Profile::new(Step::plan(config, H200, DType::Bf16)?, machine))
}

/// Profiles a training step, and then, when its memory is free again, measures what the device does at most.
///
/// # Errors
/// An impossible configuration, or what the device reports.
pub fn measured(config: &Config, device: &str, rounds: usize) -> Result<Profile> {
    let opened = open_device(device)?;
    let backend = opened.backend();
    let mut config = config.clone();
    config.sample.n = 0;
    config.train.validate_every = 0;
    let (step, name) = Step::measure(&config, opened, rounds)?;
    let ceilings = measure_or_known(device, step.dtype)?;
    Ok(Profile::new(step, Machine::measured(name, ceilings, backend != Backend::Cpu)))
}

fn json(profile: &Profile, name: &str, times: &str) -> Value {
    let dtype = profile.step.dtype;
    let mut object = json!({
        "what": "training step",
        "model": name,
        "device": profile.machine.name,
        "times": times,
        "batch_size": profile.step.images,
        "precision": dtype.suffix(),
        "parameters": profile.step.parameters,
        "ceilings": profile.machine.ceilings.json(dtype),
    });
    let parts = [
        profile.summary(),
        json!({
            "by_op": profile.totals(&profile.by_op()),
            "by_layer": profile.totals(&profile.by_layer()),
            "rows": profile.launches(),
        }),
    ];
    for part in parts {
        let (Value::Object(object), Value::Object(part)) = (&mut object, part) else { unreachable!("objects") };
        object.extend(part);
    }
    object
}

fn text(profile: &Profile, name: &str, times: &str) {
    let (step, ceilings, total) = (&profile.step, profile.machine.ceilings, profile.total());
    let dtype = step.dtype.suffix();
    let ran = step.measured_us.is_some();
    let mut header = vec!["pass", "layer", "kernel", "shape", "GFLOP", "MB", "floor us", "expected us"];
    header.extend(ran.then_some("us"));
    header.push("% of ceiling");
    let mut launches = Table::new(&header);
    profile.rows.iter().for_each(|row| launches.row(launch_cells(row)));
    say(launches.text());
    say(totals("op", &profile.by_op(), total.us));
    say(totals("layer", &profile.by_layer(), total.us));
    say(format!("{name}, {} images, {}, on {}; times are {times}", step.images, dtype, profile.machine.name));
    let (product, copy) = (digits(1e3 * ceilings.tflops, 3), digits(ceilings.copy_gb_s, 3));
    say(format!("ceilings    {product} GFLOP/s in products of {dtype}, {copy} GB/s copying"));
    let [floor, expected, us] = [total.floor_us, total.predicted_us, total.us].map(|us| digits(us / 1e3, 4));
    let took = if ran { format!(", took {us} ms") } else { String::new() };
    say(format!("step        {} launches, at least {floor} ms, expected {expected} ms{took}", total.launches));
    let (mfu, images) = (digits(100.0 * profile.mfu(), 3), digits(profile.images_per_s(), 4));
    say(format!("            {images} images/s, {mfu} % of the product ceiling"));
    let [persistent, arena] = [step.persistent_bytes, step.arena_bytes].map(megabytes);
    say(format!("memory      {persistent} of weights and optimiser, {arena} of activations"));
}

fn launch_cells(row: &Row) -> Vec<String> {
    let work = &row.work;
    let mut cells = vec![
        work.pass.name().into(),
        work.layer.to_string(),
        work.launch.as_ref().map_or(work.op, |launch| &launch.kernel).into(),
        work.shape.clone(),
        format!("{:.3}", work.flops as f64 / 1e9),
        format!("{:.2}", work.bytes as f64 / 1e6),
        format!("{:.1}", row.floor_us),
        format!("{:.1}", row.predicted_us),
    ];
    cells.extend(row.measured_us.map(|us| format!("{us:.1}")));
    cells.push(format!("{:.0}", 100.0 * row.floor_us / row.us()));
    cells
}

fn totals(what: &str, totals: &[Total], step_us: f64) -> String {
    let mut table = Table::new(&[what, "launches", "GFLOP", "MB", "floor us", "us", "% of ceiling", "% of step"]);
    for total in totals {
        table.row([
            total.name.clone(),
            total.launches.to_string(),
            format!("{:.2}", total.flops as f64 / 1e9),
            format!("{:.1}", total.bytes as f64 / 1e6),
            format!("{:.0}", total.floor_us),
            format!("{:.0}", total.us),
            format!("{:.0}", 100.0 * total.floor_us / total.us),
            format!("{:.1}", 100.0 * total.us / step_us),
        ]);
    }
    table.text()
}
