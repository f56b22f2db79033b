//! `ddpm forward`: one pass over tensors of a file, to compare with another implementation.

use super::terminal::{open_device, say};
use crate::Error;
use crate::engine::device::Device;
use crate::engine::tape::{Backend, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::files::{check_writable, write_whole};
use crate::nn::tensor_file::{self, NamedTensor, TensorFile};
use crate::nn::{Forward, Weights};
use crate::train::ModelFile;
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A run, a checkpoint, or a diffusers model folder
    model: PathBuf,
    /// Safetensors file with `x` [n, c, h, w], `t` [n], `y` [n] where the model is conditional, and, for gradients,
    /// the gradient of the output `dout` [n, c, h, w]
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Safetensors file to write: `out`, and with `dout` also `dx` and the gradient of every weight by its name
    #[arg(long, visible_alias = "output", value_name = "FILE")]
    out: PathBuf,
    /// How activations are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionName,
    #[command(flatten)]
    weights: super::weights::WeightsArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum PrecisionName {
    F32,
    Bf16,
}

pub fn run(args: Args, device: &str) -> Result<()> {
    check_writable(&args.out)?;
    let model = args.weights.open(&args.model, ModelFile::open_network)?;
    let input = Input::read(&TensorFile::open(&args.input)?, &model)?;
    let device = open_device(device)?;
    let dtype = if args.precision == PrecisionName::Bf16 { DType::Bf16 } else { DType::F32 };
    if dtype == DType::Bf16 && device.backend() == Backend::Cpu {
        bail!(Error::Config("--precision bf16: the CPU computes in f32 only".into()));
    }
    let results = evaluate(&model, &input, device, dtype)?;
    write_whole(&args.out, |out| tensor_file::write(out, &results, ("format", "pt")))?;
    say(format!("{}: {} tensors, {}", args.out.display(), results.len(), model.origin));
    Ok(())
}

/// The output, and with an upstream gradient every gradient, as tensors of a file.
fn evaluate(model: &ModelFile, input: &Input, device: Device, dtype: DType) -> Result<Vec<NamedTensor>> {
    let [n, c_in, h, w] = input.dims;
    let c_out = model.config.model.out_channels();
    let mut store = Store::new();
    let weights = Weights::reserve(&mut store, &model.params, dtype, input.dout.is_some());
    let x = store.tensor(&[n, h, w, c_in], dtype);
    let t = store.tensor(&[n], DType::F32);
    let y = input.y.is_some().then(|| store.tensor(&[n], DType::I32));
    let dout = input.dout.is_some().then(|| store.tensor(&[n, h, w, c_out], dtype));

    let mut session = Session::new(device, &store)?;
    let mut tape = Tape::new(session.backend(), dtype);
    if dout.is_some() {
        tape.watch(x);
    }
    let out = model.network.forward(&mut Forward::evaluate(&mut tape, &weights), x, t, y);
    tape.keep(out);
    let dx = dout.map_or(Tensor::EMPTY, |dout| tape.pull_back(x, out, dout));
    let mut program = session.load(tape)?;

    weights.write(&mut session, &model.values)?;
    session.write(x, &channels_last(&input.x, [n, c_in, h, w]))?;
    session.write(t, &input.t)?;
    if let (Some(tensor), Some(labels)) = (y, &input.y) {
        session.write_i32(tensor, labels)?;
    }
    if let (Some(tensor), Some(values)) = (dout, &input.dout) {
        session.write(tensor, &channels_last(values, [n, c_out, h, w]))?;
    }
    session.run(&mut program)?;

    let mut results: Vec<NamedTensor> = Vec::new();
    let out = channels_first(&session.read_in(&program, out)?, [n, h, w, c_out]);
    results.push(("out".into(), vec![n, c_out, h, w], out));
    if dout.is_some() {
        let dx = channels_first(&session.read_in(&program, dx)?, [n, h, w, c_in]);
        results.push(("dx".into(), vec![n, c_in, h, w], dx));
        results.extend(model.params.to_files(&session.read(weights.gradients)?));
    }
    Ok(results)
}

/// The tensors of the input file, as they are there.
struct Input {
    /// `[n, c, h, w]`
    dims: [usize; 4],
    x: Vec<f32>,
    t: Vec<f32>,
    y: Option<Vec<i32>>,
    dout: Option<Vec<f32>>,
}

impl Input {
    fn read(file: &TensorFile, model: &ModelFile) -> Result<Input, Error> {
        let wrong = |reason: String| Error::format(file.path(), reason);
        let config = &model.config.model;
        let [_, _, c_in] = config.sample_dims();
        let found = file.dims("x").ok_or_else(|| wrong(format!("tensor \"x\" [n, {c_in}, h, w] is missing")))?;
        let [n, c, h, w] = *found else {
            return Err(wrong(format!("tensor \"x\": wanted [n, {c_in}, h, w], found {found:?}")));
        };
        if n == 0 || c != c_in {
            return Err(wrong(format!("tensor \"x\": wanted [n, {c_in}, h, w], found {found:?}")));
        }
        config.check_size(h, w).map_err(|e| wrong(format!("tensor \"x\": {e}")))?;
        let y = (config.classes() > 0).then(|| file.read("y", &[n])).transpose()?;
        if let Some(bad) = y.iter().flatten().find(|&&y| y < 0.0 || y as usize >= config.class_rows()) {
            return Err(wrong(format!("tensor \"y\": label {bad} is not in 0..{}", config.class_rows())));
        }
        let dout = file.dims("dout").map(|_| file.read("dout", &[n, config.out_channels(), h, w]));
        Ok(Input {
            dims: [n, c, h, w],
            x: file.read("x", found)?,
            t: file.read("t", &[n])?,
            y: y.map(|labels| labels.into_iter().map(|y| y as i32).collect()),
            dout: dout.transpose()?,
        })
    }
}

/// `[n, c, h, w]` to `[n, h, w, c]`.
fn channels_last(x: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    let plane = h * w;
    (0..n * plane * c).map(|i| x[(i / (plane * c) * c + i % c) * plane + i / c % plane]).collect()
}

/// `[n, h, w, c]` to `[n, c, h, w]`.
fn channels_first(x: &[f32], [n, h, w, c]: [usize; 4]) -> Vec<f32> {
    let plane = h * w;
    (0..n * plane * c).map(|i| x[(i / (plane * c) * plane + i % plane) * c + i / plane % c]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_inverse() {
        let x: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let last = channels_last(&x, [2, 3, 4, 5]);
        // Image 1, row 2, column 3, channel 1.
        assert_eq!(last[((4 + 2) * 5 + 3) * 3 + 1], x[((3 + 1) * 4 + 2) * 5 + 3]);
        assert_eq!(channels_first(&last, [2, 4, 5, 3]), x);
    }
}
