//! A run begun by an earlier version opens, goes on and is sampled, bit for bit as by that version.
//!
//! `tests/golden/run-d5774b6` is a run directory that commit d5774b6 wrote, up to the checkpoint of step 6 of 12:
//!
//! ```sh
//! ddpm train --device cpu --set model.channels=[4,4] --set model.groups=2 --set model.attention_levels=[1] \
//!   --set model.classes=10 --set model.dropout=0.1 --set data.flip=true --set train.batch_size=8 \
//!   --set train.steps=12 --set train.warmup_steps=4 --set train.checkpoint_every=6 \
//!   --set sample.n=4 --set sample.sampler=ddim --set sample.steps=8 --set sample.guidance=1
//! ```
//!
//! `expected.json.gz` beside it holds what the same commit made of it: every tensor of the state after step 12, the
//! samples of that state (`[CRC-32C of the little-endian f32 values, sum, root of the sum of squares]`), and the log of
//! steps 7 to 12 (`[loss, gradient norm, learning rate]`). It was made on a CPU with AVX2 and without AVX-512. Another
//! instruction set may add in another order: there the sums are compared, not the bits.

use ddpm::engine::device::Device;
use ddpm::sample::Request;
use ddpm::train::{LoadedModel, ModelFile, Which};
use flate2::read::GzDecoder;
use program::stdout;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

mod program;

/// Largest difference of sums and norms on other instruction sets, relative to the tensor's norm. Adding the gradients
/// of a batch in two halves, which is a rounding difference too, changes them by 1.2e-6.
const TOLERANCE: f64 = 1e-5;

/// Results of d5774b6. The files are part of this executable, so that it can run far from the repository.
#[derive(Deserialize)]
struct Expected {
    /// The widest vector instructions of the CPU that computed it.
    instructions: String,
    log: Vec<[f64; 3]>,
    tensors: BTreeMap<String, (String, f64, f64)>,
}

/// The widest vector instructions of this CPU that the program uses.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return "avx512";
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return "avx2";
    }
    "other"
}

/// Writes the run directory as d5774b6 left it.
fn unpack(run: &Path) {
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(run.join(name), bytes).unwrap();
    write("config.toml", include_bytes!("golden/run-d5774b6/config.toml"));
    write("metrics.jsonl", include_bytes!("golden/run-d5774b6/metrics.jsonl"));
    let packed = include_bytes!("golden/run-d5774b6/checkpoints/step-00000006.safetensors.gz");
    let mut checkpoint = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut checkpoint).unwrap();
    write("checkpoints/step-00000006.safetensors", &checkpoint);
}

/// Draws as the configuration of a run says.
fn samples(run: &Path) -> Vec<f32> {
    let model = ModelFile::open(run, &Which::Average).unwrap();
    let mut loaded = LoadedModel::new(&model, Device::Cpu).unwrap();
    let (plan, settings) = (loaded.plan().unwrap(), &model.config.sample);
    let request = Request { guidance: settings.guidance, ..Request::new(&plan, settings.n, settings.seed) };
    loaded.sample(request, &mut |_, _| {}).unwrap().images
}

impl Expected {
    /// Returns true if this CPU adds in the same order as the one of d5774b6.
    fn to_the_bit(&self) -> bool {
        self.instructions == instructions()
    }

    fn check(&self, name: &str, values: &[f32]) {
        let (crc32c, _, _) = &self.tensors[name];
        if self.to_the_bit() {
            let found = format!("{:08x}", crc32c::crc32c(bytemuck::cast_slice(values)));
            assert_eq!(&found, crc32c, "{name}: other bits than those of d5774b6");
        } else {
            self.check_sums(name, values);
        }
    }

    /// Compares sum and norm where sums are made in another order.
    fn check_sums(&self, name: &str, values: &[f32]) {
        let (_, sum, norm) = &self.tensors[name];
        // The bias of the keys moves no softmax: its gradient is zero but for rounding.
        let is_zero = name.starts_with("adam_") && name.ends_with("to_k.bias");
        let tolerance = if is_zero { 1e-12 } else { TOLERANCE * norm };
        let total = |f: fn(f64) -> f64| values.iter().map(|&v| f(v.into())).sum::<f64>();
        let distance = (total(|v| v) - sum) / (values.len() as f64).sqrt();
        assert!(distance.abs() <= tolerance, "{name}: the sum is {}, not {sum}", total(|v| v));
        let found = total(|v| v * v).sqrt();
        assert!((found - norm).abs() <= tolerance, "{name}: the norm is {found}, not {norm}");
    }

    fn check_log(&self, metrics: &str) {
        assert_eq!(metrics.lines().count(), 6 + self.log.len());
        for (line, expected) in metrics.lines().skip(6).zip(&self.log) {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            for (key, expected) in ["loss", "grad_norm", "learning_rate"].iter().zip(expected) {
                let tolerance = if self.to_the_bit() { 0.0 } else { TOLERANCE * expected };
                let found = record[key].as_f64().unwrap();
                assert!((found - expected).abs() <= tolerance, "{key} {found} is not {expected}: {line}");
            }
        }
    }
}

#[test]
fn a_run_of_d5774b6_opens_goes_on_and_is_sampled() {
    let packed = GzDecoder::new(&include_bytes!("golden/run-d5774b6/expected.json.gz")[..]);
    let expected: Expected = serde_json::from_reader(packed).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    unpack(&run);
    let (path, sheet) = (run.to_str().unwrap(), run.join("sheet.png"));
    let sample = ["sample", path, "--device", "cpu", "--n", "1", "--out", sheet.to_str().unwrap()];
    assert!(stdout(&sample).contains("averaged weights of step 6 "));
    assert!(stdout(&["train", "--device", "cpu", "--resume", "--out", path]).contains("resumed  after step 6"));

    let checkpoint = fs::read(run.join("checkpoints/step-00000012.safetensors")).unwrap();
    let checkpoint = SafeTensors::deserialize(&checkpoint).unwrap();
    assert_eq!(checkpoint.len() + 1, expected.tensors.len());
    for (name, view) in checkpoint.iter() {
        expected.check(name, &bytemuck::pod_collect_to_vec(view.data()));
    }
    expected.check("samples", &samples(&run));
    expected.check_log(&fs::read_to_string(run.join("metrics.jsonl")).unwrap());
}
