//! `ddpm devices`: what there is to compute on, and why something else is not there.

use super::terminal::{megabytes, say};
use crate::engine::device::{Cuda, Device, Driver};
use crate::version::version;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) {
    let devices = devices();
    if args.json {
        say(json!({ "version": version(), "devices": devices }));
        return;
    }
    for device in &devices {
        let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
        let details = match device["total_bytes"].as_u64() {
            Some(bytes) => format!("{}, {}, runs {}", text("name"), megabytes(bytes), text("code")),
            None => text("name") + &text("missing"),
        };
        say(format!("{:8} {details}", text("device")));
        if !text("note").is_empty() {
            say(format!("         ({})", text("note")));
        }
    }
}

/// An object for each device: either its `name`, or why it is `missing`.
fn devices() -> Vec<Value> {
    let mut devices =
        vec![json!({ "device": "cpu", "name": format!("{} threads, f32", rayon::current_num_threads()) })];
    for ordinal in 0.. {
        let device = format!("cuda:{ordinal}");
        match Cuda::new(ordinal).and_then(|cuda| describe(&device, &cuda, &cuda.code()?)) {
            Ok(value) => devices.push(value),
            Err(error) => {
                if ordinal == 0 {
                    devices.push(json!({ "device": device, "missing": error.to_string() }));
                }
                break;
            }
        }
    }
    devices.push(match Device::open("emu") {
        Ok((emu, _)) => json!({ "device": "emu", "name": emu.name() }),
        Err(error) => json!({ "device": "emu", "missing": error.to_string() }),
    });
    devices
}

fn describe(device: &str, cuda: &Cuda, code: &str) -> crate::Result<Value> {
    let ((major, minor), (free_bytes, total_bytes)) = (cuda.compute_capability(), cuda.memory_info()?);
    Ok(json!({
        "device": device,
        "name": cuda.name(),
        "compute_capability": format!("{major}.{minor}"),
        "code": code,
        "note": cuda.note(),
        "free_bytes": free_bytes,
        "total_bytes": total_bytes,
    }))
}
