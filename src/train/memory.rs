//! Memory that training takes on a device, and the batch that would fit where it is too much.

use super::config::Config;
use super::model_file::network;
use super::program::{StepPrograms, StepTensors};
use crate::engine::tape::{Backend, Plan};
use crate::engine::tensor::{DType, Store};
use crate::nn::{Network, ParamSet};
use crate::{Error, Result};

/// Bytes of the programs of a training step, without those that draw samples or validate.
#[derive(Debug)]
pub struct TrainingMemory {
    /// Weights, gradients, optimiser state and inputs.
    pub persistent_bytes: u64,
    /// The largest arena: activations and their gradients.
    pub arena: ArenaPlan,
}

/// The plan of a program's intermediates.
#[derive(Debug, Default)]
pub struct ArenaPlan {
    /// Where each lies, and when.
    pub plan: Plan,
    /// Number of nodes of the forward pass; the reverse pass follows.
    pub forward_nodes: usize,
}

impl TrainingMemory {
    /// Memory for a configuration, found by recording its step.
    ///
    /// # Errors
    /// A step that the backend cannot run.
    pub fn of(
        config: &Config,
        (network, params): (&Network, &ParamSet),
        on: (Backend, DType),
    ) -> Result<TrainingMemory> {
        let mut store = Store::new();
        let tensors = StepTensors::reserve(&mut store, params, config, config.train.shards, on.1);
        let programs = StepPrograms::record(on, network, &tensors, config);
        programs.tapes().try_for_each(|tape| tape.check())?;
        let plans = programs.tapes().map(|tape| ArenaPlan { plan: tape.plan(), forward_nodes: tape.forward_nodes() });
        let arena = plans.max_by_key(|arena| arena.plan.bytes).unwrap_or_default();
        Ok(TrainingMemory { persistent_bytes: store.bytes(), arena })
    }

    /// Both together: the peak.
    pub fn bytes(&self) -> u64 {
        self.persistent_bytes + self.arena.plan.bytes
    }
}

/// Adds to an error of too large a batch (memory ran out, or a grid did) the batch that would have fitted into
/// `free_bytes`.
pub(super) fn advise(mut error: Error, config: &Config, backend: Backend, free_bytes: u64) -> Error {
    if let Error::OutOfMemory { advice, .. } | Error::Grid { advice, .. } = &mut error {
        match advice_for(config, backend, free_bytes) {
            Ok(text) => *advice = text,
            Err(error) => return error,
        }
    }
    error
}

/// Advice on a batch that fits. A GPU keeps some memory for itself and hands it out in pages: a twentieth is left to it.
fn advice_for(config: &Config, backend: Backend, free_bytes: u64) -> Result<String> {
    let (network, params) = network(config)?;
    let batch = config.train.batch_size;
    let fits = |shards: usize| {
        let mut config = config.clone();
        config.train.shards = shards;
        let memory = TrainingMemory::of(&config, (&network, &params), (backend, config.train.precision.dtype()));
        memory.is_ok_and(|memory| memory.bytes() <= free_bytes / 20 * 19)
    };
    let divisors = (config.train.shards..=batch).filter(|parts| batch.is_multiple_of(*parts));
    Ok(match divisors.into_iter().find(|&parts| fits(parts)) {
        Some(parts) if parts == config.train.shards => {
            "; the training step alone would fit: set sample.n = 0 and train.evaluate_every = 0, or \
             train.validate_every = 0"
                .into()
        }
        Some(parts) => format!(
            "; train.batch_size = {} would fit, or the same batch with train.shards = {parts}",
            batch / parts * config.train.shards
        ),
        None => "; not even one image at a time would fit".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::{Device, EmuOptions};
    use crate::engine::ops::check::emulated;
    use crate::nn::{ImageSize, ModelConfig, UNetConfig};
    use crate::train::config::{Precision, TrainConfig};
    use crate::train::sample_config::SampleConfig;
    use crate::train::{Trainer, presets};

    fn small() -> Config {
        let model = ModelConfig::Unet(UNetConfig {
            image_size: ImageSize::from(8),
            channels: vec![8, 16],
            layers_per_level: 1,
            groups: 4,
            attention_levels: vec![1],
            ..UNetConfig::default()
        });
        Config { model, sample: SampleConfig { n: 0, ..SampleConfig::default() }, ..Config::default() }
    }

    /// An emulated GPU with so much memory, where there is the emulator.
    fn gpu(memory_bytes: u64) -> Result<Device> {
        emulated(EmuOptions { memory_bytes: Some(memory_bytes), ..EmuOptions::default() })
    }

    fn refusal(device: Device, config: &Config) -> String {
        match Trainer::new(device, config) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }

    /// The number after `name` in a message.
    fn number(message: &str, name: &str) -> usize {
        let digits = message.split(name).nth(1).unwrap_or_else(|| panic!("no {name}: {message}"));
        digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    #[test]
    fn too_large_a_batch_is_refused_with_one_that_fits() {
        const MEMORY_BYTES: u64 = 3_000_000;
        let device = match gpu(MEMORY_BYTES) {
            Ok(device) => device,
            Err(reason) => crate::skip!("{reason}"),
        };
        let mut config = small();
        config.train.batch_size = 96;
        let message = refusal(device, &config);
        let wanted = message.split("out of memory: ").nth(1).unwrap();
        assert!(
            wanted.contains(" bytes wanted, ") && wanted.contains(" of 3000000 free; train.batch_size = "),
            "{message}"
        );
        let (batch, parts) = (number(&message, "train.batch_size = "), number(&message, "train.shards = "));
        assert!(batch < 96 && batch * parts == 96, "{message}");
        let in_parts = Config { train: TrainConfig { shards: parts, ..config.train.clone() }, ..config.clone() };
        config.train.batch_size = batch;
        for fitting in [config, in_parts] {
            Trainer::new(gpu(MEMORY_BYTES).unwrap(), &fitting).unwrap();
        }
    }

    #[test]
    fn too_large_a_batch_is_refused_on_the_cpu() {
        let mut config = small();
        config.train.batch_size = 50_000_000;
        let message = refusal(Device::Cpu, &config);
        assert!(message.starts_with("device cpu: out of memory: "), "{message}");
        assert!(number(&message, "out of memory: ") > number(&message, " bytes wanted, "), "{message}");
        let (batch, parts) = (number(&message, "train.batch_size = "), number(&message, "train.shards = "));
        assert_eq!(batch * parts, 50_000_000, "{message}");
    }

    /// A block of a grid's y for each image: CUDA has 65,535. Refused before memory is allocated.
    #[test]
    fn a_batch_larger_than_a_grid_is_refused_with_one_that_fits() {
        let device = match gpu(1 << 40) {
            Ok(device) => device,
            Err(reason) => crate::skip!("{reason}"),
        };
        let mut config = presets::get("points-2d").unwrap();
        config.train.batch_size = 131_072;
        let message = refusal(device, &config);
        assert!(message.starts_with("noise_fwd: 131072 blocks along y of a grid, which takes 65535; "), "{message}");
        let (batch, parts) = (number(&message, "train.batch_size = "), number(&message, "train.shards = "));
        assert_eq!((batch, parts), (32_768, 4), "{message}");
    }

    #[test]
    fn a_model_that_never_fits_is_refused_as_such() {
        let device = match gpu(100_000) {
            Ok(device) => device,
            Err(reason) => crate::skip!("{reason}"),
        };
        let message = refusal(device, &small());
        assert!(message.ends_with("; not even one image at a time would fit"), "{message}");
    }

    #[test]
    fn heads_too_wide_for_a_gpu_in_f32_are_refused_before_anything_is_allocated() {
        let device = match gpu(0) {
            Ok(device) => device,
            Err(reason) => crate::skip!("{reason}"),
        };
        let mut config = small();
        let wide = UNetConfig {
            image_size: ImageSize::from(8),
            channels: vec![8, 520],
            groups: 4,
            layers_per_level: 1,
            ..UNetConfig::default()
        };
        config.model = ModelConfig::Unet(wide);
        config.train.precision = Precision::F32;
        let message = refusal(device, &config);
        let expected = "train.precision = \"f32\": attention_bwd: heads of 520 dimensions";
        assert!(message.starts_with(expected) && message.ends_with("they fit in bf16"), "{message}");
        config.train.precision = Precision::Bf16;
        assert!(refusal(gpu(0).unwrap(), &config).contains("out of memory"));
    }
}
