//! Choosing a device by its name on the command line.

use super::{Backend, Capability, Cuda, Device, HostMemory};
use crate::{Error, Result};

impl Device {
    /// Opens `auto`, `cpu`, `cuda`, `cuda:N` or `emu`. The text that comes with the device is a note for the user on the
    /// choice; it is mostly empty.
    ///
    /// # Errors
    /// An unknown name, or a device that was asked for and is not there. `auto` falls back to the CPU instead.
    pub fn open(spec: &str) -> Result<(Device, String)> {
        let cuda = |ordinal| {
            Cuda::new(ordinal).map(|cuda| {
                let note = cuda.note();
                (Device::Gpu(Box::new(cuda)), note)
            })
        };
        let unknown = || Error::Config(format!("unknown device \"{spec}\": auto, cpu, cuda, cuda:N and emu are known"));
        match spec.split_once(':').unwrap_or((spec, "")) {
            ("auto", "") => match cuda(0) {
                Ok(opened) => Ok(opened),
                Err(error) => Ok((Device::Cpu, format!("computing on the CPU ({error})"))),
            },
            ("cpu", "") => Ok((Device::Cpu, String::new())),
            ("emu", "") => Ok((emulator()?, "the GPU kernels run emulated: exact, and very slow".into())),
            ("cuda", "") if !spec.ends_with(':') => cuda(0),
            ("cuda", several) if is_list(several) => Err(Error::Config(format!(
                "device \"{spec}\": each process computes on one GPU; with a build that knows MPI (docs/many-gpus.md): \
                 CUDA_VISIBLE_DEVICES={several} mpirun -n {} ddpm train --device cuda ...",
                several.split(',').count()
            ))),
            ("cuda", ordinal) if ordinal.bytes().all(|b| b.is_ascii_digit()) => {
                cuda(ordinal.parse().map_err(|_| unknown())?)
            }
            _ => Err(unknown()),
        }
    }

    /// Bytes that can still be allocated, where that is known.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn free_bytes(&self) -> Result<Option<u64>> {
        match self {
            Device::Cpu => Ok(HostMemory::read().map(|memory| memory.free_bytes)),
            Device::Gpu(driver) => Ok(Some(driver.memory_info()?.0)),
        }
    }

    /// Backend of the tapes for this device.
    pub fn backend(&self) -> Backend {
        match self {
            Device::Cpu => Backend::Cpu,
            Device::Gpu(driver) => Backend::Gpu(Capability::of(driver.compute_capability())),
        }
    }
}

/// Returns true for the numbers of several GPUs: `0,1`.
fn is_list(text: &str) -> bool {
    text.contains(',') && text.split(',').all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(feature = "emulator")]
fn emulator() -> Result<Device> {
    use super::{Emu, EmuOptions};
    Ok(Device::Gpu(Box::new(Emu::new(EmuOptions::default())?)))
}

#[cfg(not(feature = "emulator"))]
fn emulator() -> Result<Device> {
    let reason = "this program was built without the emulator: cargo build --release --features emulator".into();
    Err(Error::Device { device: "emu".into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_refused_with_the_known_ones() {
        for spec in ["gpu", "cuda:x", "cpu:1", "emu:0", ""] {
            let message = Device::open(spec).err().expect("refused").to_string();
            assert!(message.contains("auto, cpu, cuda, cuda:N and emu"), "{spec}: {message}");
        }
        let message = Device::open("cuda:0,1,2,3").err().expect("refused").to_string();
        assert!(message.contains("CUDA_VISIBLE_DEVICES=0,1,2,3 mpirun -n 4 ddpm train --device cuda"), "{message}");
        assert_eq!(Device::open("cpu").unwrap().0.backend(), Backend::Cpu);
    }
}
