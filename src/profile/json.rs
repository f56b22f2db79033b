//! Profiles as JSON.

use super::machine::Ceilings;
use super::totals::{Profile, Row, Total};
use crate::engine::tensor::DType;
use serde_json::{Value, json};

impl Ceilings {
    /// `{bf16_tflops, copy_gb_s}`, or `f32_tflops` where the products are of f32.
    pub fn json(&self, dtype: DType) -> Value {
        json!({ (format!("{}_tflops", dtype.suffix())): self.tflops, "copy_gb_s": self.copy_gb_s })
    }
}

impl Profile {
    /// The step as a whole.
    pub fn summary(&self) -> Value {
        let (total, step, rates) = (self.total(), &self.step, &self.machine.rates);
        json!({
            "launches": total.launches,
            "gflop_per_step": total.flops as f64 / 1e9,
            "gb_per_step": total.bytes as f64 / 1e9,
            "floor_ms": total.floor_us / 1e3,
            "predicted_ms": total.predicted_us / 1e3,
            "measured_ms": step.measured_us.as_ref().map(|us| us.iter().sum::<f64>() / 1e3),
            "images_per_s": self.images_per_s(),
            "mfu": self.mfu(),
            "persistent_bytes": step.persistent_bytes,
            "arena_bytes": step.arena_bytes,
            "peak_bytes": step.persistent_bytes + step.arena_bytes,
            "expected": {
                "conv_tflops": rates.conv_tflops,
                "attention_fwd_tflops": rates.attention_fwd_tflops,
                "attention_bwd_tflops": rates.attention_bwd_tflops,
                "memory_gb_s": rates.memory_gb_s,
                "launch_us": rates.launch_us,
            },
        })
    }

    /// Totals as a list.
    pub fn totals(&self, totals: &[Total]) -> Value {
        let step_us = self.total().us;
        let total = |total: &Total| {
            json!({
                "name": total.name,
                "launches": total.launches,
                "flops": total.flops,
                "bytes": total.bytes,
                "floor_us": total.floor_us,
                "predicted_us": total.predicted_us,
                "us": total.us,
                "percent_of_ceiling": 100.0 * total.floor_us / total.us,
                "share": total.us / step_us,
            })
        };
        totals.iter().map(total).collect()
    }

    /// Every launch.
    pub fn launches(&self) -> Value {
        let step_us = self.total().us;
        self.rows.iter().map(|row| row.json(step_us)).collect()
    }
}

impl Row {
    fn json(&self, step_us: f64) -> Value {
        let Row { work, occupancy, .. } = self;
        let launch = work.launch.as_ref();
        json!({
            "pass": work.pass.name(),
            "op": work.op,
            "layer": &*work.layer,
            "kernel": launch.map(|launch| &launch.kernel),
            "shape": work.shape,
            "flops": work.flops,
            "bytes": work.bytes,
            "floor_us": self.floor_us,
            "predicted_us": self.predicted_us,
            "measured_us": self.measured_us,
            "percent_of_ceiling": 100.0 * self.floor_us / self.us(),
            "share": self.us() / step_us,
            "grid": launch.map(|launch| launch.grid),
            "threads": launch.map(|launch| launch.block),
            "tile_efficiency": launch.and_then(|launch| launch.tile_efficiency),
            "resident_blocks": occupancy.map(|o| o.resident_blocks),
            "waves": occupancy.map(|o| o.waves),
            "wave_efficiency": occupancy.map(|o| o.wave_efficiency),
        })
    }
}
