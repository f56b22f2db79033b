//! `ddpm profile` and `ddpm bench` from outside: what they print adds up, and how they say no.

mod program;

use program::{ddpm, stdout};
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

fn sum(list: &Value, key: &str) -> f64 {
    list.as_array().unwrap().iter().map(|row| row[key].as_f64().unwrap()).sum()
}

#[test]
fn the_shares_of_a_step_sum_to_one_and_its_trace_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json").display().to_string();
    let profile =
        json(&["profile", "--device", "cpu", "--batch-size", "2", "--rounds", "1", "--json", "--trace", &trace]);
    for list in ["rows", "by_op", "by_layer"] {
        let shares = sum(&profile[list], "share");
        assert!((shares - 1.0).abs() <= 1e-9, "{list}: {shares}");
    }
    let rows = profile["rows"].as_array().unwrap();
    assert_eq!(profile["launches"], rows.len());
    assert!(rows.iter().all(|row| row["measured_us"].as_f64().unwrap() >= 0.0 && row["kernel"].is_null()));
    let ms = sum(&profile["rows"], "measured_us") / 1e3;
    assert!((profile["measured_ms"].as_f64().unwrap() - ms).abs() <= 1e-9 * ms);
    assert_eq!((profile["times"].as_str(), profile["precision"].as_str()), (Some("measured"), Some("f32")));
    assert!(profile["ceilings"]["f32_tflops"].as_f64().unwrap() > 0.0);

    let trace: Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.len() > rows.len() && events.iter().all(|event| event["ph"] == "X" || event["ph"] == "M"));
}

#[test]
fn a_gpu_that_is_not_there_is_predicted() {
    let model = |conv_tflops: &str| {
        json(&[
            "profile",
            "--preset",
            "unet64",
            "--batch-size",
            "32",
            "--model",
            "h200",
            "--conv-tflops",
            conv_tflops,
            "--json",
        ])
    };
    let [slow, fast] = [model("450"), model("700")];
    assert_eq!((slow["times"].as_str(), slow["ceilings"]["bf16_tflops"].as_f64()), (Some("predicted"), Some(790.0)));
    assert!(slow["measured_ms"].is_null() && slow["rows"][0]["kernel"].is_string());
    assert!(slow["mfu"].as_f64().unwrap() < fast["mfu"].as_f64().unwrap());
    assert!(slow["peak_bytes"].as_u64().unwrap() > 16 * 20_494_211);
    let gflop = slow["gflop_per_step"].as_f64().unwrap() / 32.0;
    // Forward and backward, and the scores that attention computes again.
    assert!((gflop - 38.74 - 0.14).abs() <= 0.02, "{gflop} GFLOP an image");
    let table = stdout(&["profile", "--preset", "unet64", "--batch-size", "32", "--model", "h200"]);
    assert!(table.contains("times are predicted") && table.contains("down_blocks.2.attentions.0"), "{table}");
}

#[test]
fn mistakes_are_named() {
    let refused = |args: &[&str]| {
        let assert = ddpm(&[&["profile"], args].concat()).assert().code(2);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let unknown = refused(&["--model", "h2oo"]);
    assert!(unknown.contains("unknown model \"h2oo\"") && unknown.contains("known are h200"), "{unknown}");
    assert!(refused(&["--model", "h200", "--set", "train.precision=f32"]).contains("bf16"));
    assert!(refused(&["--model", "h200", "--conv-tflops", "0"]).contains("positive"));
    assert!(refused(&["--conv-tflops", "500"]).contains("--model"));
    assert!(refused(&["--batch-size", "0"]).contains("batch_size"));
}

#[test]
fn benches_name_the_ceilings_that_they_measure_against() {
    let small = ["--device", "cpu", "--set", "train.batch_size=2"];
    let bench = |what: &[&str]| json(&[&["bench", "--json"], what, &small].concat());
    let kernels = bench(&["kernels", "--rounds", "1"]);
    let rows = kernels["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["name"] == "conv2d_fwd" && row["tflops"].as_f64().unwrap() > 0.0));
    assert!(rows.iter().all(|row| row["us"].as_f64().unwrap() >= 0.0 && row["gb_s"].as_f64().unwrap() > 0.0));
    let train = bench(&["train", "--steps", "1", "--warmup", "0"]);
    let sample = bench(&["sample", "--n", "2", "--set", "sample.steps=2"]);
    for report in [kernels, train.clone(), sample.clone(), json(&["bench", "--json", "ceilings", "--device", "cpu"])] {
        let ceilings = &report["ceilings"];
        let positive = |key: &str| ceilings[key].as_f64().unwrap() > 0.0;
        assert!(positive("f32_tflops") && positive("copy_gb_s"), "{report}");
        assert!(report["device"].as_str().unwrap().starts_with("cpu"));
    }
    let [mfu, tflops] = [&train["mfu"], &train["ceilings"]["f32_tflops"]].map(|v| v.as_f64().unwrap());
    let rate = train["gflop_per_s"].as_f64().unwrap() / 1e3;
    assert!((mfu * tflops - rate).abs() <= 1e-9 * rate);
    assert_eq!((sample["samples"].as_u64(), sample["steps"].as_u64()), (Some(2), Some(2)));
    assert!(sample["ms_per_step"].as_f64().unwrap() > 0.0);
}

#[test]
fn all_kernels_of_a_convolution_are_timed() {
    assert!(
        ddpm(&["bench", "convolution", "1x8x8", "8", "--device", "cpu"])
            .assert()
            .code(2)
            .get_output()
            .stdout
            .is_empty()
    );
    let refused = ddpm(&["bench", "convolution", "1x8x8x8", "8", "--device", "cpu"]).assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("on a GPU"));
    if cfg!(not(ddpm_emu)) {
        ddpm::skip!("this build has no emulator");
    }
    let args = ["bench", "convolution", "4x8x8x64", "64", "--rounds", "1", "--device", "emu", "--json"];
    let output = ddpm(&args).env("DDPM_EMU", "cc=9.0").assert().success();
    let report: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for pass in ["conv2d_fwd", "conv2d_bwd_dx", "conv2d_bwd_dw"] {
        let rows: Vec<&Value> = rows.iter().filter(|row| row["pass"] == pass).collect();
        assert_eq!(rows.iter().filter(|row| row["chosen"] == true).count(), 1, "{report}");
        let kernels: Vec<&str> = rows.iter().map(|row| row["kernel"].as_str().unwrap()).collect();
        assert!(kernels.iter().any(|kernel| kernel.contains("_sm90")), "{kernels:?}");
        assert!(kernels.iter().any(|kernel| !kernel.contains("_sm90")), "{kernels:?}");
        assert!(pass == "conv2d_bwd_dw" || kernels.iter().any(|kernel| kernel.ends_with("_pair")), "{kernels:?}");
        assert!(rows.iter().all(|row| row["us"].as_f64().unwrap() > 0.0 && row["tflops"].as_f64().unwrap() > 0.0));
    }
}
