//! The emulator: every kernel file, and the few C++ files that run them, in a static library.

use crate::jobs::{self, Job};
use crate::sources::{Source, files_below, headers_of};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Links the emulated kernels into the crate and sets `cfg(ddpm_emu)`, where that is possible.
pub fn build(root: &Path, out: &Path, kernels: &[Source]) -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg(ddpm_emu)");
    println!("cargo::rustc-check-cfg=cfg(ddpm_emu_sanitize, values(\"address\", \"thread\"))");
    if crate::cargo_env("CARGO_CFG_TARGET_OS") != "linux" || crate::cargo_env("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        return Ok(());
    }
    let sanitizer = std::env::var("DDPM_EMU_SANITIZE").unwrap_or_default();
    let (flags, host_flags): (&[&str], &[&str]) = match sanitizer.as_str() {
        "" => (&[], &[]),
        "address" => {
            // vptr needs C++ symbols at link time.
            let flags = &[
                "-fsanitize=address,undefined",
                "-fno-sanitize=vptr",
                "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer",
                "-g",
            ];
            (flags, flags)
        }
        "thread" => (&["-fsanitize=thread", "-g"], &["-DEMU_TSAN=1", "-g"]),
        other => return Err(format!("DDPM_EMU_SANITIZE is `{other}`; it can be `address` or `thread`")),
    };
    let Some(compiler) = find_compiler(root) else {
        println!("cargo::warning=no C++ compiler: the device `emu` is left out (a package such as g++ has one)");
        return Ok(());
    };
    let objects_folder = out.join(format!("emu_{sanitizer}"));
    fs::create_dir_all(&objects_folder).map_err(|e| format!("{}: {e}", objects_folder.display()))?;
    let emulator = Build { root, out: &objects_folder, compiler };
    let host: Vec<PathBuf> = files_below(&root.join("kernels/host"))?.into_iter().filter(|f| is_a(f, "cpp")).collect();
    let mut jobs: Vec<Job> =
        kernels.iter().map(|k| emulator.kernel(&k.path, &k.stem(), flags)).collect::<Result<_, _>>()?;
    for file in &host {
        jobs.push(emulator.job(file, &format!("host_{}", stem(file)), host_flags)?);
    }
    let planted: Vec<PathBuf> = match root.join("tests/emu") {
        folder if folder.is_dir() => files_below(&folder)?.into_iter().filter(|f| is_a(f, "cu")).collect(),
        _ => Vec::new(),
    };
    let first_planted = jobs.len();
    for file in &planted {
        jobs.push(emulator.kernel(file, &format!("tests_{}", stem(file)), flags)?);
    }
    let objects: Vec<PathBuf> = jobs.iter().map(|job| job.output.clone()).collect();
    jobs::run(jobs)?;
    archive("ddpm_emu", &objects[..first_planted]);
    if first_planted < objects.len() {
        archive("ddpm_emu_tests", &objects[first_planted..]);
    }

    println!("cargo::rustc-cfg=ddpm_emu");
    println!("cargo::rustc-link-search=native={}", out.display());
    // Whole: nothing refers to a kernel by its symbol.
    println!("cargo::rustc-link-lib=static:+whole-archive=ddpm_emu");
    println!("cargo::rustc-link-lib={}", standard_library(&emulator.compiler, &sanitizer));
    if root.join("tests/emu").is_dir() {
        println!("cargo::rerun-if-changed=tests/emu");
    }
    if !sanitizer.is_empty() {
        println!("cargo::rustc-cfg=ddpm_emu_sanitize=\"{sanitizer}\"");
        // rustc links without the compiler's default libraries. scripts/sanitize.sh preloads them: they must come first.
        let runtimes: &[&str] = if sanitizer == "address" { &["asan", "ubsan"] } else { &["tsan"] };
        runtimes.iter().for_each(|runtime| println!("cargo::rustc-link-lib=dylib={runtime}"));
    }
    Ok(())
}

struct Build<'a> {
    root: &'a Path,
    out: &'a Path,
    compiler: cc::Tool,
}

impl Build<'_> {
    /// A kernel file is compiled inside an anonymous namespace: its names are its own, as they are under nvcc.
    fn kernel(&self, file: &Path, name: &str, flags: &[&str]) -> Result<Job, String> {
        let wrapper = self.out.join(format!("{name}.cpp"));
        let text = format!("#include \"common/common.cuh\"\nnamespace {{\n#include \"{}\"\n}}\n", file.display());
        if fs::read_to_string(&wrapper).ok().is_none_or(|old| old != text) {
            fs::write(&wrapper, text).map_err(|e| format!("{}: {e}", wrapper.display()))?;
        }
        let mut job = self.job(&wrapper, name, flags)?;
        job.name = file.display().to_string();
        job.inputs.push(file.into());
        Ok(job)
    }

    fn job(&self, file: &Path, name: &str, flags: &[&str]) -> Result<Job, String> {
        let output = self.out.join(format!("{name}.o"));
        let mut command = self.compiler.to_command();
        command.args(flags).arg("-c").arg(file).arg("-o").arg(&output).current_dir(self.root);
        let mut inputs = headers_of(file, &self.root.join("kernels"))?;
        inputs.push(file.into());
        Ok(Job { name: file.display().to_string(), command, inputs, output })
    }
}

/// The C++ compiler with the flags that kernels need, if there is one that runs.
fn find_compiler(root: &Path) -> Option<cc::Tool> {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).include(root.join("kernels")).warnings(false).cargo_warnings(false);
    // x86-64-v3: 8 floats a register; src/engine/device/emu.rs asks the processor. No strict aliasing and no contraction of
    // a * b + c, as under nvcc's -fmad the kernels' intrinsics. Messages name files relative to the repository.
    for flag in ["-march=x86-64-v3", "-fno-strict-aliasing", "-ffp-contract=off", "-Wno-unknown-pragmas", "-pthread"] {
        build.flag(flag);
    }
    build.flag(format!("-fmacro-prefix-map={}/=", root.display()));
    let compiler = build.try_get_compiler().ok()?;
    let runs = Command::new(compiler.path()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    runs.is_ok_and(|status| status.success()).then_some(compiler)
}

/// The C++ library as rustc links it: into the executable, so that it runs where none is installed. A sanitizer wants the
/// shared one.
fn standard_library(compiler: &cc::Tool, sanitizer: &str) -> &'static str {
    let answer = compiler.to_command().arg("-print-file-name=libstdc++.a").output();
    let path = answer.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default();
    match path.parent() {
        Some(folder) if sanitizer.is_empty() && path.is_absolute() && path.is_file() => {
            println!("cargo::rustc-link-search=native={}", folder.display());
            "static:-bundle=stdc++"
        }
        _ => "dylib=stdc++",
    }
}

fn archive(name: &str, objects: &[PathBuf]) {
    cc::Build::new().cpp(true).cargo_metadata(false).objects(objects).compile(name);
}

fn is_a(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|e| e == extension)
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
