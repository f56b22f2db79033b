//! The measurements of `ddpm bench` as tables.

use super::terminal::megabytes;
use crate::report::{Table, digits};
use serde_json::{Map, Value};

/// Keys of a report in the order in which they are shown, with their words, unit and factor.
const LINES: &[(&str, &str, &str, f64)] = &[
    ("parameters", "parameters", "", 1.0),
    ("batch_size", "batch", "images", 1.0),
    ("samples", "samples", "", 1.0),
    ("steps", "evaluations", "a sample", 1.0),
    ("s", "time", "s", 1.0),
    ("ms_per_step", "a step", "ms", 1.0),
    ("min_ms_per_step", "fastest step", "ms", 1.0),
    ("images_per_s", "speed", "images/s", 1.0),
    ("samples_per_s", "speed", "samples/s", 1.0),
    ("gflop_per_step", "work", "GFLOP a step", 1.0),
    ("gflop_per_s", "rate", "GFLOP/s", 1.0),
    ("mfu", "", "% of the ceiling of products", 100.0),
    ("stride", "stride", "pixels", 1.0),
    ("peak_bytes", "memory", "planned", f64::NAN),
    ("peak_resident_bytes", "", "of the process at most", f64::NAN),
];

/// Renders a report: a line for each measurement, then the table of its rows.
pub fn text(report: &Value) -> String {
    let Some(report) = report.as_object() else { return report.to_string() };
    let words = |key: &str| report.get(key).and_then(Value::as_str);
    let title: Vec<&str> = ["model", "what", "device"].into_iter().filter_map(words).collect();
    let mut text = title.join(", ") + "\n";
    for (key, name) in [("input", "input"), ("weights", "weights")] {
        if let Some(dims) = report.get(key) {
            text += &line(name, &dims.to_string());
        }
    }
    for (key, name, unit, factor) in LINES {
        if let Some(value) = report.get(*key).and_then(Value::as_f64) {
            let number = if factor.is_nan() { megabytes(value as u64) } else { number(value * factor) };
            text += &line(name, &format!("{number} {unit}"));
        }
    }
    for (key, name) in [("ceilings", "ceilings"), ("measured", "measured")] {
        if let Some(ceilings) = report.get(key).and_then(Value::as_object) {
            text += &line(name, &rates(ceilings));
        }
    }
    if let Some(rows) = report.get("rows").and_then(Value::as_array) {
        text += &format!("\n{}", table(rows));
    }
    text.trim_end().to_owned()
}

fn line(name: &str, value: &str) -> String {
    format!("{name:12}  {}\n", value.trim_end())
}

/// Whole numbers in full, others with four digits.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { digits(value, 4) }
}

/// `0.131 TFLOP/s in products of f32, 20.1 GB/s copying`.
fn rates(ceilings: &Map<String, Value>) -> String {
    let rate = |(key, value): (&String, &Value)| {
        let value = digits(value.as_f64().unwrap_or(f64::NAN), 3);
        match key.strip_suffix("_tflops") {
            Some(dtype) => format!("{value} TFLOP/s in products of {dtype}"),
            None => format!("{value} GB/s copying"),
        }
    };
    ceilings.iter().map(rate).collect::<Vec<_>>().join(", ")
}

fn table(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return String::new() };
    let header: Vec<String> = first.keys().map(|key| key.replace('_', " ")).collect();
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let cell = |value: &Value| match value {
        Value::Number(value) => number(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => String::new(),
        other => other.to_string(),
    };
    rows.iter().for_each(|row| table.row(first.keys().map(|key| cell(&row[key]))));
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn measurements_have_words_and_units_and_rows_become_a_table() {
        let report = json!({
            "what": "kernels of a training step", "model": "quickstart", "device": "cpu (2 threads)",
            "ceilings": { "f32_tflops": 0.1314, "copy_gb_s": 20.12 }, "batch_size": 32, "ms_per_step": 29.3456,
            "mfu": 0.5125, "peak_bytes": 86_000_000u64, "peak_resident_bytes": null,
            "rows": [
                { "name": "conv2d_fwd", "us": 12.3456, "chosen": true },
                { "name": "silu_fwd", "us": 3.0, "chosen": false },
            ],
        });
        let expected = "\
quickstart, kernels of a training step, cpu (2 threads)
batch         32 images
a step        29.35 ms
              51.25 % of the ceiling of products
memory        86 MB planned
ceilings      0.131 TFLOP/s in products of f32, 20.1 GB/s copying

name           us  chosen
conv2d_fwd  12.35  yes
silu_fwd        3";
        assert_eq!(text(&report), expected);
    }
}
