//! Stages that run NVIDIA's tools: Nsight Compute and compute-sanitizer.

use super::{Done, Work, fail, require, runs, skip};
use crate::process::{Streams, run_read};
use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// Words of tools that a machine does not let do their work, which says nothing of the program.
const REFUSALS: [&str; 4] =
    ["LibraryNotLoaded", "Device not supported", "ERR_NVGPUCTRPERM", "Profiling is not supported"];

/// The reason to skip a stage whose tool says, in one of these texts, that it may not work here.
fn refusal(tool: &str, texts: &[&str]) -> Option<String> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let line = lines.clone().find(|line| REFUSALS.iter().any(|refusal| line.contains(refusal)))?;
    Some(format!("{tool} may not work here: {}", line.trim_start_matches(['=', ' ']).trim_end()))
}

pub fn ncu(work: &Work) -> Done {
    if !work.on_gpu() {
        return Err(skip("needs a GPU"));
    }
    if !runs("ncu", &["--version"]) {
        return Err(skip("no ncu"));
    }
    let all = "--csv --page raw --print-kernel-base function --print-units base --launch-count 800";
    profile(work, "all.csv", all, &["--metrics", "gpu__time_duration.sum"])?;
    work.keep("all.csv", "ncu-all.csv")?;

    let times = times_by_kernel(&fs::read_to_string("all.csv")?);
    let line = |time: &KernelTime| format!("{:>12.0} ns {:>4} launches  {}\n", time.ns, time.launches, time.kernel);
    let table: String = times.iter().map(line).collect();
    print!("{table}");
    fs::write("kernels.txt", table)?;
    work.keep("kernels.txt", "ncu-kernels.txt")?;
    let largest: Vec<&str> = times.iter().take(5).map(|time| time.kernel.as_str()).collect();
    require(!largest.is_empty(), "ncu has seen no kernel")?;
    work.note(format!("largest: {}", largest.join(", ")))?;

    let details = "--set full --kernel-name-base function --launch-count 10 --page details";
    profile(work, "details.txt", details, &["--kernel-name", &format!("regex:^({})$", largest.join("|"))])?;
    Ok(work.keep("details.txt", "ncu-details.txt")?)
}

/// Runs two training steps under ncu with these options; its log is `file`.
fn profile(work: &Work, file: &str, options: &str, more: &[&str]) -> Done {
    let mut ncu = work.command("ncu");
    ncu.args(["--clock-control", "none", "--graph-profiling", "node", "--log-file", file]);
    ncu.args(options.split(' ')).args(more);
    ncu.arg(work.program()).args(["bench", "train", "--device", "cuda", "--preset", "ddpm-cifar10"]);
    ncu.args(["--set", "train.batch_size=128", "--steps", "1", "--warmup", "1"]);
    let (status, printed) = run_read(&mut ncu, Streams::Both)?;
    let log = fs::read_to_string(file).unwrap_or_default();
    if let Some(reason) = refusal("ncu", &[&printed, &log]) {
        return Err(skip(&reason));
    }
    print!("{log}");
    require(status.success(), &format!("ncu: {status}"))
}

/// Time of all launches of a kernel.
#[derive(Debug, PartialEq)]
struct KernelTime {
    kernel: String,
    ns: f64,
    launches: usize,
}

/// Sums a table of ncu by kernel, the largest first. The columns are found by their headings.
fn times_by_kernel(csv: &str) -> Vec<KernelTime> {
    let mut columns = None;
    let mut sums: HashMap<String, (f64, usize)> = HashMap::new();
    for line in csv.lines() {
        let fields: Vec<&str> = line.split("\",\"").map(|field| field.trim_matches('"')).collect();
        let Some((name, time)) = columns else {
            let column = |heading: &str| fields.iter().position(|field| field.contains(heading));
            columns = column("Kernel Name").zip(column("time_duration"));
            continue;
        };
        let (Some(name), Some(time)) = (fields.get::<usize>(name), fields.get::<usize>(time)) else { continue };
        // The line below the headings has the units.
        let Ok(time) = time.replace(',', "").parse::<f64>() else { continue };
        let sum = sums.entry((*name).into()).or_default();
        *sum = (sum.0 + time, sum.1 + 1);
    }
    let mut times: Vec<KernelTime> =
        sums.into_iter().map(|(kernel, (ns, launches))| KernelTime { kernel, ns, launches }).collect();
    times.sort_by(|a, b| b.ns.total_cmp(&a.ns).then_with(|| a.kernel.cmp(&b.kernel)));
    times
}

pub fn sanitize(work: &Work, tool: &str) -> Done {
    if !work.on_gpu() {
        return Err(skip("needs a GPU"));
    }
    if !runs("compute-sanitizer", &["--version"]) {
        return Err(skip("no compute-sanitizer"));
    }
    let test = |executable: &str, filter: &[&str]| {
        let mut command: Command = work.command("compute-sanitizer");
        command.env("DDPM_TEST_SHAPES", "few").args(["--tool", tool, "--error-exitcode", "9"]);
        if tool == "memcheck" {
            // A kernel's parameters are counted by asking the driver until it says no.
            command.args(["--report-api-errors", "no"]);
        }
        command.arg(work.bundle.join("tests").join(executable)).args(filter).arg("--test-threads=1");
        command
    };
    let mut summaries = Vec::new();
    let mut failed = false;
    for mut command in [test("wrappers", &[]), test("unit", &["ops::"])] {
        let (status, text) = run_read(&mut command, Streams::Both)?;
        if let Some(reason) = refusal("compute-sanitizer", &[&text]) {
            return Err(skip(&reason));
        }
        let is_summary = |line: &&str| line.contains("ERROR SUMMARY") || line.contains("RACECHECK SUMMARY");
        summaries.extend(text.lines().filter(is_summary).map(|line| line.trim_start_matches(['=', ' ']).to_owned()));
        failed |= !status.success();
    }
    work.note(summaries.join(";"))?;
    if failed { Err(fail("compute-sanitizer or the tests under it failed")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As they were printed in a container that lends a GPU without its counters.
    #[test]
    fn a_tool_that_may_not_work_is_a_reason_to_skip() {
        let counters =
            "==PROF== Connected to process 17\n==ERROR== An error was reported by the driver: LibraryNotLoaded\n";
        let reason = refusal("ncu", &["", counters]).unwrap();
        assert_eq!(reason, "ncu may not work here: ERROR== An error was reported by the driver: LibraryNotLoaded");
        let sanitizer =
            "========= COMPUTE-SANITIZER\n========= Error: Device not supported. Please refer to the manual\n";
        let reason = refusal("compute-sanitizer", &[sanitizer]).unwrap();
        assert!(reason.ends_with("here: Error: Device not supported. Please refer to the manual"), "{reason}");
        assert_eq!(refusal("ncu", &["==PROF== Disconnected", "details"]), None);
    }

    #[test]
    fn times_are_summed_by_kernel_and_columns_found_by_heading() {
        let csv = r#"==PROF== Connected to process 17
"ID","Kernel Name","Block Size","dram__bytes.sum","gpu__time_duration.sum"
"","","","byte","ns"
"0","silu_fwd","(256, 1, 1)","100","1,500"
"1","conv_fwd","(128, 1, 1)","100","9,000"
"2","silu_fwd","(256, 1, 1)","100","2500"
"#;
        let time = |kernel: &str, ns, launches| KernelTime { kernel: kernel.into(), ns, launches };
        assert_eq!(times_by_kernel(csv), [time("conv_fwd", 9000.0, 1), time("silu_fwd", 4000.0, 2)]);
        assert_eq!(times_by_kernel("==ERROR== nothing was profiled\n"), []);
    }
}
