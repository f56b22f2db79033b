use super::*;
use crate::engine::device::{Backend, Capability, Device};
use crate::engine::tensor::DType;
use crate::train::presets;

fn model(preset: &str, batch: usize, conv_tflops: f64) -> Profile {
    let mut config = presets::get(preset).unwrap();
    config.train.batch_size = batch;
    let step = Step::plan(&config, Backend::Gpu(Capability::Hopper), DType::Bf16).unwrap();
    Profile::new(step, Machine::model("h200", conv_tflops).unwrap())
}

#[test]
fn the_model_counts_what_is_published() {
    let profile = model("ddpm-cifar10", 128, 550.0);
    let total = profile.total();
    // 37.32 GFLOP an image, forward and backward, and the scores of five layers of attention over 256 tokens with 256
    // channels, which are computed again for the gradient; without 20 of 36 products of each pixel that is doubled, in
    // three passes over 4x4, 8x8 and 16x16 pixels of 256 channels.
    let gflop = total.flops as f64 / 128e9;
    let spared = 3.0 * (16.0 + 64.0 + 256.0) * 20.0 * 2.0 * 256f64.powi(2) / 1e9;
    let want = 37.32 + 5.0 * 2.0 * 256f64.powi(3) / 1e9 - spared;
    assert!((gflop - want).abs() <= 0.02, "{gflop} GFLOP an image");
    assert_eq!(profile.step.parameters, 35_746_307);
}

#[test]
fn predictions_lie_between_the_floor_and_the_assumption() {
    let [slow, fast] = [450.0, 700.0].map(|conv_tflops| model("ddpm-cifar10", 16, conv_tflops));
    for row in slow.rows.iter().chain(&fast.rows) {
        assert!(row.floor_us + 2.0 <= row.predicted_us, "{row:?}");
    }
    assert!(fast.total().us < slow.total().us && slow.mfu() < fast.mfu());
    let conv = slow.rows.iter().find(|row| row.work.op == "conv2d_fwd" && row.work.flops > 9_000_000_000).unwrap();
    let want = 2.0 + conv.work.flops as f64 / 450e6;
    assert!((conv.predicted_us - want).abs() <= 1e-9 * want, "{conv:?}");
}

#[test]
fn what_hopper_computes_in_vain_is_known() {
    let profile = model("ddpm-cifar10", 128, 550.0);
    let launches = profile.rows.iter().filter_map(|row| Some((&row.work.shape, row.work.launch.as_ref()?)));
    let hopper: Vec<_> = launches.filter(|(_, launch)| launch.kernel.contains("_sm90")).collect();
    let wanted = |part: Option<f64>| part.is_some_and(|part| part > 0.0 && part <= 1.0);
    assert!(hopper.len() > 100 && hopper.iter().all(|(_, launch)| wanted(launch.tile_efficiency)));
    // 512 tiles without padding, which 132 blocks take in four turns of which sixteen are empty.
    let same_size = "128x32x32x128, 128x3x3x128 -> 128x32x32x128";
    let (_, launch) = hopper.iter().find(|(shape, _)| *shape == same_size).unwrap();
    assert_eq!((&launch.kernel[..], launch.tile_efficiency), ("conv2d_fwd_sm90_128x256_pair", Some(512.0 / 528.0)));
}

#[test]
fn totals_are_sums_of_the_launches() {
    let profile = model("mnist-123", 8, 550.0);
    let total = profile.total();
    for totals in [profile.by_op(), profile.by_layer(), profile.by_kernel()] {
        assert_eq!(totals.iter().map(|t| t.launches).sum::<usize>(), total.launches);
        assert_eq!(totals.iter().map(|t| t.flops).sum::<u64>(), total.flops);
        assert_eq!(totals.iter().map(|t| t.bytes).sum::<u64>(), total.bytes);
        let us: f64 = totals.iter().map(|t| t.us).sum();
        assert!((us - total.us).abs() <= 1e-9 * total.us);
    }
}

#[test]
fn every_launch_of_every_preset_has_its_layer() {
    for preset in presets::ALL {
        let mut config = (preset.config)();
        config.train.batch_size = 2;
        let step = Step::plan(&config, Backend::Cpu, DType::F32).unwrap();
        assert!(step.work.iter().all(|work| !work.layer.is_empty()), "{}", preset.name);
    }
    let config = presets::get("quickstart").unwrap();
    let work = Step::plan(&config, Backend::Cpu, DType::F32).unwrap().work;
    let layer = |op: &str| &*work.iter().find(|work| work.op == op).unwrap().layer;
    assert_eq!(layer("conv2d_fwd"), "conv_in");
    assert_eq!(layer("attention_fwd"), "down_blocks.2.attentions.0.to_q, to_k, to_v");
    assert_eq!(layer("concat_fwd"), "up_blocks.0.join");
    assert_eq!(layer("concat_bwd"), "up_blocks.2.join");
    assert_eq!(layer("adam"), "optimiser");
}

#[test]
fn a_step_in_shards_is_counted_in_shards() {
    let mut config = presets::get("quickstart").unwrap();
    config.train.batch_size = 8;
    let whole = Step::plan(&config, Backend::Cpu, DType::F32).unwrap();
    config.train.shards = 4;
    let parts = Step::plan(&config, Backend::Cpu, DType::F32).unwrap();
    let flops = |step: &Step| step.work.iter().map(|work| work.flops).sum::<u64>();
    assert_eq!(flops(&parts), flops(&whole));
    assert_eq!(parts.work.iter().filter(|work| work.op == "adam").count(), 1);
    assert!(parts.arena_bytes < whole.arena_bytes && parts.persistent_bytes > whole.persistent_bytes);
}

#[test]
fn what_is_planned_is_what_a_trainer_runs() {
    let mut config = presets::get("quickstart").unwrap();
    config.train.batch_size = 2;
    config.sample.n = 0;
    let planned = Step::plan(&config, Backend::Cpu, DType::F32).unwrap();
    let (measured, _) = Step::measure(&config, Device::Cpu, 1).unwrap();
    let launches = |step: &Step| format!("{:?}", step.work);
    assert_eq!(launches(&planned), launches(&measured));
    assert_eq!(measured.measured_us.unwrap().len(), planned.work.len());
    let bytes = |step: &Step| (step.persistent_bytes, step.arena_bytes);
    assert_eq!(bytes(&planned), (measured.persistent_bytes, measured.arena_bytes));
}

#[test]
fn a_trace_has_every_launch_on_one_track_and_the_layers_on_another() {
    let profile = model("quickstart", 4, 550.0);
    let trace = trace(&profile);
    let spans = |track: u64| -> Vec<(f64, f64)> {
        let events = trace["traceEvents"].as_array().unwrap().iter();
        let spans = events.filter(|event| event["ph"] == "X" && event["tid"] == track);
        spans.map(|event| (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap())).collect()
    };
    let (layers, launches) = (spans(1), spans(2));
    assert_eq!(launches.len(), profile.rows.len());
    assert!(layers.len() < launches.len());
    for track in [layers, launches] {
        assert!(track.windows(2).all(|w| (w[0].0 + w[0].1 - w[1].0).abs() <= 1e-6), "spans follow each other");
        let us: f64 = track.iter().map(|span| span.1).sum();
        assert!((us - profile.total().us).abs() <= 1e-6 * us);
    }
}
