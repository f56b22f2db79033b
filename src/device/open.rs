//! Choosing a device by its name on the command line.

use super::{Device, Emu, EmuOptions};
use crate::tape::Backend;
use crate::{Error, Result};

impl Device {
    /// Opens `auto`, `cpu`, `cuda`, `cuda:N` or `emu`. The text that comes with it says what a user should know about
    /// the choice; it is empty where there is nothing to say.
    ///
    /// # Errors
    /// An unknown name, or a device that was asked for and is not there. `auto` falls back to the CPU instead.
    pub fn open(spec: &str) -> Result<(Device, String)> {
        let quiet = |device| Ok((device, String::new()));
        match spec.split_once(':').unwrap_or((spec, "")) {
            ("auto", "") => match open_cuda(0) {
                Ok(device) => quiet(device),
                Err(error) => Ok((Device::Cpu, format!("no GPU ({error}); computing on the CPU"))),
            },
            ("cpu", "") => quiet(Device::Cpu),
            ("emu", "") => {
                let note = "the GPU kernels run emulated: exact, and very slow".into();
                Ok((Device::Gpu(Box::new(Emu::new(EmuOptions::default())?)), note))
            }
            ("cuda", "") if !spec.ends_with(':') => quiet(open_cuda(0)?),
            ("cuda", ordinal) if ordinal.parse::<usize>().is_ok() => quiet(open_cuda(ordinal.parse().expect("checked"))?),
            _ => Err(Error::Config(format!("unknown device \"{spec}\": auto, cpu, cuda, cuda:N and emu are known"))),
        }
    }

    /// What tapes for this device are recorded for.
    pub fn backend(&self) -> Backend {
        match self {
            Device::Cpu => Backend::Cpu,
            Device::Gpu(_) => Backend::Gpu,
        }
    }
}

fn open_cuda(_ordinal: usize) -> Result<Device> {
    Err(Error::device("cuda", "no driver"))
}
