//! Machines: their ceilings, and the rates expected of our kernels on them.

use crate::engine::device::kernels::RESOURCES;
use crate::engine::tape::{Launch, Pass, Work};
use crate::{Error, Result};

/// Highest rates of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Dense matrix product, TFLOP/s.
    pub tflops: f64,
    /// Copying memory, GB/s read and written together.
    pub copy_gb_s: f64,
}

impl Ceilings {
    /// Takes the figures known of such a device where they are higher: products and copies of ours are no ceiling.
    pub fn or_known(self, device: &str) -> Ceilings {
        if !device.contains("H200") {
            return self;
        }
        Ceilings { tflops: self.tflops.max(H200.tflops), copy_gb_s: self.copy_gb_s.max(H200.copy_gb_s) }
    }

    /// Least time for some work, in microseconds: the roofline.
    pub fn floor_us(&self, work: &Work) -> f64 {
        (work.flops as f64 / (self.tflops * 1e6)).max(work.bytes as f64 / (self.copy_gb_s * 1e3))
    }
}

/// Rates that kernels are expected to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Convolutions and linear layers, TFLOP/s.
    pub conv_tflops: f64,
    /// Attention forward, TFLOP/s.
    pub attention_fwd_tflops: f64,
    /// Attention backward, TFLOP/s.
    pub attention_bwd_tflops: f64,
    /// Whatever memory bounds, GB/s.
    pub memory_gb_s: f64,
    /// From one launch to the next, in microseconds.
    pub launch_us: f64,
}

impl Rates {
    /// Expected time of some work, in microseconds.
    pub fn predict_us(&self, work: &Work) -> f64 {
        let tflops = match (work.op.starts_with("attention"), work.pass) {
            (true, Pass::Forward) => self.attention_fwd_tflops,
            (true, _) => self.attention_bwd_tflops,
            (false, _) => self.conv_tflops,
        };
        let compute_us = work.flops as f64 / (tflops * 1e6);
        self.launch_us + compute_us.max(work.bytes as f64 / (self.memory_gb_s * 1e3))
    }
}

/// How the blocks of a launch fill the multiprocessors of a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occupancy {
    /// Blocks of the launch.
    pub blocks: u64,
    /// Blocks that are on a multiprocessor at the same time.
    pub resident_blocks: u64,
    /// Times that the multiprocessors are filled, the last time perhaps in part.
    pub waves: u64,
    /// Part of all places in those waves that is taken.
    pub wave_efficiency: f64,
}

/// Resources of a GPU's multiprocessors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Multiprocessors {
    /// Architecture of the kernels that run on it.
    arch: &'static str,
    count: u64,
    threads: u64,
    blocks: u64,
    registers: u64,
    shared_bytes: u64,
}

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub name: String,
    pub ceilings: Ceilings,
    pub rates: Rates,
    multiprocessors: Option<Multiprocessors>,
}

/// Names that [`Machine::model`] knows.
const MODELS: &str = "h200";

impl Machine {
    /// A GPU that is not there, by its name, with convolutions expected at `conv_tflops`.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn model(name: &str, conv_tflops: f64) -> Result<Machine> {
        match name {
            "h200" => Ok(Machine {
                name: "NVIDIA H200 (model)".into(),
                ceilings: H200,
                rates: Rates { conv_tflops, ..H200_RATES },
                multiprocessors: Some(HOPPER),
            }),
            _ => Err(Error::Config(format!("unknown model \"{name}\" of a GPU: known are {MODELS}"))),
        }
    }

    /// A machine that is there. Kernels on a GPU are expected to come as near to its ceilings as to those of an H200; ops
    /// on the CPU to reach them.
    pub fn measured(name: String, ceilings: Ceilings, is_gpu: bool) -> Machine {
        let of_h200 = if is_gpu {
            H200_RATES
        } else {
            let all = H200.tflops;
            Rates {
                conv_tflops: all,
                attention_fwd_tflops: all,
                attention_bwd_tflops: all,
                memory_gb_s: H200.copy_gb_s,
                launch_us: 0.0,
            }
        };
        let (compute, memory) = (ceilings.tflops / H200.tflops, ceilings.copy_gb_s / H200.copy_gb_s);
        let rates = Rates {
            conv_tflops: compute * of_h200.conv_tflops,
            attention_fwd_tflops: compute * of_h200.attention_fwd_tflops,
            attention_bwd_tflops: compute * of_h200.attention_bwd_tflops,
            memory_gb_s: memory * of_h200.memory_gb_s,
            launch_us: of_h200.launch_us,
        };
        let multiprocessors = name.contains("H200").then_some(HOPPER);
        Machine { name, ceilings, rates, multiprocessors }
    }

    /// How a launch fills the machine. Unknown for a machine without multiprocessors, and for kernels that this program
    /// was built without: how many registers they take is known to their compiler alone.
    pub fn occupancy(&self, launch: &Launch) -> Option<Occupancy> {
        let gpu = self.multiprocessors?;
        let taken = RESOURCES.iter().find(|r| r.kernel == launch.kernel && r.arch == gpu.arch)?;
        let shared_bytes = u64::from(launch.smem_bytes) + u64::from(taken.shared_bytes);
        Some(gpu.occupancy(launch, u64::from(taken.registers), shared_bytes))
    }
}

impl Multiprocessors {
    fn occupancy(&self, launch: &Launch, registers: u64, shared_bytes: u64) -> Occupancy {
        /// Registers are given to a warp by so many.
        const REGISTER_UNIT: u64 = 256;
        /// Shared memory that the system reserves for each block.
        const RESERVED_BYTES: u64 = 1024;
        const WARP: u64 = 32;
        let warps = u64::from(launch.block).div_ceil(WARP);
        let warps_by_registers = self.registers / (registers * WARP).next_multiple_of(REGISTER_UNIT);
        let resident = [
            self.blocks,
            self.threads / (warps * WARP),
            warps_by_registers / warps,
            self.shared_bytes / (shared_bytes + RESERVED_BYTES),
        ];
        let resident_blocks = resident.into_iter().min().expect("there are four").max(1);
        let blocks: u64 = launch.grid.iter().map(|&n| u64::from(n)).product();
        let places = self.count * resident_blocks;
        let waves = blocks.div_ceil(places).max(1);
        Occupancy { blocks, resident_blocks, waves, wave_efficiency: blocks as f64 / (waves * places) as f64 }
    }
}

/// Measured on such a machine, with random data: dense bf16 product 770 to 798 TFLOP/s, device copy 4.3 TB/s.
const H200: Ceilings = Ceilings { tflops: 790.0, copy_gb_s: 4300.0 };

const H200_RATES: Rates = Rates {
    conv_tflops: 550.0,
    attention_fwd_tflops: 300.0,
    attention_bwd_tflops: 250.0,
    memory_gb_s: 0.85 * H200.copy_gb_s,
    launch_us: 2.0,
};

const HOPPER: Multiprocessors = Multiprocessors {
    arch: "sm_90a",
    count: 132,
    threads: 2048,
    blocks: 32,
    registers: 65_536,
    shared_bytes: 228 * 1024,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Capability;
    use crate::engine::tape::Launches;
    use crate::engine::tensor::DType;

    fn launch(grid: [usize; 3], threads: usize) -> Launch {
        Launches::new(Capability::Hopper).kernel("silu_fwd", DType::Bf16).grid(grid).block(threads).clone()
    }

    #[test]
    fn blocks_fill_multiprocessors_in_waves() {
        // 128 registers: 16 warps of 32 threads fill the 65,536 registers, so 2 blocks of 256 threads.
        let full = HOPPER.occupancy(&launch([132, 2, 1], 256), 128, 0);
        assert_eq!((full.resident_blocks, full.waves, full.wave_efficiency), (2, 1, 1.0));
        let one_more = HOPPER.occupancy(&launch([265, 1, 1], 256), 128, 0);
        assert_eq!((one_more.waves, one_more.wave_efficiency), (2, 265.0 / 528.0));
    }

    #[test]
    fn each_resource_can_be_the_limit() {
        let resident = |threads, registers, shared| HOPPER.occupancy(&launch([1; 3], threads), registers, shared);
        assert_eq!(resident(32, 16, 0).resident_blocks, 32);
        assert_eq!(resident(1024, 32, 0).resident_blocks, 2);
        assert_eq!(resident(256, 255, 0).resident_blocks, 1);
        assert_eq!(resident(128, 32, 113 * 1024).resident_blocks, 2);
        assert_eq!(resident(128, 32, 114 * 1024).resident_blocks, 1);
    }

    #[test]
    fn what_is_known_of_a_device_is_a_ceiling_too() {
        let ours = Ceilings { tflops: 500.0, copy_gb_s: 4400.0 };
        assert_eq!(ours.or_known("NVIDIA H200 (cuda:0)"), Ceilings { tflops: 790.0, copy_gb_s: 4400.0 });
        assert_eq!(ours.or_known("cpu (2 threads)"), ours);
    }

    #[test]
    fn a_measured_gpu_is_expected_to_come_as_near_to_its_ceilings_as_the_model() {
        let half = Ceilings { tflops: H200.tflops / 2.0, copy_gb_s: H200.copy_gb_s / 4.0 };
        let gpu = Machine::measured("NVIDIA H200 (cuda:0)".into(), half, true);
        assert_eq!((gpu.rates.conv_tflops, gpu.rates.memory_gb_s), (275.0, H200_RATES.memory_gb_s / 4.0));
        assert_eq!(gpu.multiprocessors, Some(HOPPER));
        let cpu = Machine::measured("cpu".into(), half, false);
        assert_eq!((cpu.rates.conv_tflops, cpu.rates.memory_gb_s), (half.tflops, half.copy_gb_s));
    }
}
