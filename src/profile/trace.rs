//! A profile as a trace that Perfetto and Chrome show: <https://ui.perfetto.dev>, or `chrome://tracing`.

use super::totals::Profile;
use serde_json::{Value, json};

/// The process that the trace shows, and its two tracks.
const PROCESS: u32 = 1;
const LAYERS: u32 = 1;
const LAUNCHES: u32 = 2;

/// The step in the trace event format: one track of launches, one of the layers to which they belong.
pub fn trace(profile: &Profile) -> Value {
    let named = |what: &str, track: u32, name: &str| json!({ "name": what, "ph": "M", "pid": PROCESS, "tid": track, "args": { "name": name } });
    let mut events = vec![
        named("process_name", LAYERS, &profile.machine.name),
        named("thread_name", LAYERS, "layers"),
        named("thread_name", LAUNCHES, "launches"),
    ];
    let span = |name: &str, category: &str, track: u32, start_us: f64, us: f64, args: Value| {
        json!({
            "name": name, "cat": category, "ph": "X", "pid": PROCESS, "tid": track, "ts": start_us, "dur": us, "args": args,
        })
    };
    let mut start_us = 0.0;
    for rows in profile.rows.chunk_by(|a, b| (a.work.pass, &a.work.layer) == (b.work.pass, &b.work.layer)) {
        let (first, us) = (&rows[0].work, rows.iter().map(|row| row.us()).sum());
        events.push(span(&first.layer, first.pass.name(), LAYERS, start_us, us, json!({})));
        for row in rows {
            let work = &row.work;
            let name = work.launch.as_ref().map_or(work.op, |launch| &launch.kernel);
            let args = json!({
                "op": work.op, "shape": work.shape, "flops": work.flops, "bytes": work.bytes,
                "floor_us": row.floor_us, "predicted_us": row.predicted_us,
            });
            events.push(span(name, work.pass.name(), LAUNCHES, start_us, row.us(), args));
            start_us += row.us();
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}
