//! Compiling kernels for the emulator, with the host's C++ compiler.

use crate::files::headers_of;
use crate::jobs::Job;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The sanitizer that emulated kernels run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitizer {
    /// No sanitizer.
    None,
    /// AddressSanitizer and UBSan.
    Address,
    /// ThreadSanitizer.
    Thread,
}

impl Sanitizer {
    /// Reads `DDPM_EMU_SANITIZE`.
    ///
    /// # Errors
    /// A value that is neither empty, `address` nor `thread`.
    pub fn from_env() -> Result<Sanitizer, String> {
        println!("cargo::rerun-if-env-changed=DDPM_EMU_SANITIZE");
        match std::env::var("DDPM_EMU_SANITIZE").unwrap_or_default().as_str() {
            "" => Ok(Sanitizer::None),
            "address" => Ok(Sanitizer::Address),
            "thread" => Ok(Sanitizer::Thread),
            other => Err(format!("DDPM_EMU_SANITIZE is `{other}`; it can be `address` or `thread`")),
        }
    }

    /// The value of `DDPM_EMU_SANITIZE`.
    pub fn name(self) -> &'static str {
        match self {
            Sanitizer::None => "",
            Sanitizer::Address => "address",
            Sanitizer::Thread => "thread",
        }
    }

    fn kernel_flags(self) -> &'static [&'static str] {
        match self {
            Sanitizer::None => &[],
            // vptr needs C++ symbols at link time.
            Sanitizer::Address => &[
                "-fsanitize=address,undefined",
                "-fno-sanitize=vptr",
                "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer",
                "-g",
            ],
            Sanitizer::Thread => &["-fsanitize=thread", "-g"],
        }
    }

    /// ThreadSanitizer must not see the emulator's own bookkeeping.
    fn runtime_flags(self) -> &'static [&'static str] {
        if self == Sanitizer::Thread { &["-DEMU_TSAN=1", "-g"] } else { self.kernel_flags() }
    }

    /// Runtime libraries to link: rustc links without the compiler's default ones.
    fn libraries(self) -> &'static [&'static str] {
        match self {
            Sanitizer::None => &[],
            Sanitizer::Address => &["asan", "ubsan"],
            Sanitizer::Thread => &["tsan"],
        }
    }
}

/// The C++ compiler, with the settings that all emulated code is compiled with.
pub struct Compiler {
    tool: cc::Tool,
    includes: Vec<PathBuf>,
    root: PathBuf,
    out: PathBuf,
    /// The sanitizer that the code is compiled for.
    pub sanitizer: Sanitizer,
}

impl Compiler {
    /// Finds a C++ compiler that runs. None where there is none, and on machines that the emulator does not know. Headers
    /// are looked for in `includes` and among the emulator's own. Messages name files relative to `root`.
    ///
    /// # Errors
    /// A wrong `DDPM_EMU_SANITIZE`, or a folder that cannot be made.
    pub fn find(root: &Path, includes: &[PathBuf]) -> Result<Option<Compiler>, String> {
        let sanitizer = Sanitizer::from_env()?;
        let target = |name| crate::cargo_env(&format!("CARGO_CFG_TARGET_{name}"));
        if target("OS") != "linux" || target("ARCH") != "x86_64" {
            return Ok(None);
        }
        let includes: Vec<PathBuf> = [emulator().join("include")].into_iter().chain(includes.iter().cloned()).collect();
        let Some(tool) = find_tool(root, &includes) else { return Ok(None) };
        let out = PathBuf::from(crate::cargo_env("OUT_DIR")).join(format!("emulated_{}", sanitizer.name()));
        fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        for folder in &includes {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        Ok(Some(Compiler { tool, includes, root: root.into(), out, sanitizer }))
    }

    /// Compiles a kernel file inside an anonymous namespace, so that its names are its own, as they are under nvcc. The
    /// headers of `prelude`, such as `common/common.cuh`, are outside.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn kernel(&self, file: &Path, prelude: &str) -> Result<Job, String> {
        let wrapper = emulator().join("include/emulator/kernel_file.cpp");
        let mut job = self.job(file, self.sanitizer.kernel_flags(), &wrapper)?;
        job.command.arg(format!("-DEMU_PRELUDE=\"{prelude}\"")).arg(format!("-DEMU_KERNEL=\"{}\"", file.display()));
        let path = self.includes.iter().map(|folder| folder.join(prelude)).find(|path| path.is_file());
        let path = path.ok_or_else(|| format!("{}: there is no header {prelude}", file.display()))?;
        let mut inputs = headers_of(&path, &self.includes)?;
        inputs.extend([wrapper, path]);
        inputs.append(&mut job.inputs);
        Ok(Job { inputs, ..job })
    }

    /// Compiles a C++ file of the emulator's runtime.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn runtime(&self, file: &Path) -> Result<Job, String> {
        self.job(file, self.sanitizer.runtime_flags(), file)
    }

    fn job(&self, file: &Path, flags: &[&str], to_compile: &Path) -> Result<Job, String> {
        let name = file.strip_prefix(&self.root).unwrap_or(file);
        let output = self.out.join(format!("{}.o", name.with_extension("").display().to_string().replace('/', "_")));
        let mut command = self.tool.to_command();
        command.args(flags).arg("-c").arg(to_compile).current_dir(&self.root);
        let mut inputs = headers_of(file, &self.includes)?;
        inputs.push(file.into());
        Ok(Job { name: name.display().to_string(), command, inputs, output })
    }

    /// Makes a static library of compiled files in `OUT_DIR`, without linking it.
    pub fn archive(&self, name: &str, objects: &[PathBuf]) {
        cc::Build::new().cpp(true).cargo_metadata(false).objects(objects).compile(name);
    }

    /// Links compiled kernels into the crate, as a static library with this name.
    pub fn link_kernels(&self, name: &str, objects: &[PathBuf]) {
        self.archive(name, objects);
        println!("cargo::rustc-link-search=native={}", crate::cargo_env("OUT_DIR"));
        // Whole: nothing refers to a kernel by its symbol.
        println!("cargo::rustc-link-lib=static:+whole-archive={name}");
    }

    /// Links the compiled runtime into the crate, and the C++ and sanitizer libraries into whatever is made of it.
    pub fn link_runtime(&self, name: &str, objects: &[PathBuf]) {
        self.archive(name, objects);
        println!("cargo::rustc-link-search=native={}", crate::cargo_env("OUT_DIR"));
        println!("cargo::rustc-link-lib=static={name}");
        println!("cargo::rustc-link-lib={}", self.standard_library());
        // scripts/sanitize.sh preloads them: they must come first.
        self.sanitizer.libraries().iter().for_each(|library| println!("cargo::rustc-link-lib=dylib={library}"));
    }

    /// The C++ library as rustc links it: into the executable, so that it runs where none is installed. A sanitizer needs
    /// the shared one.
    fn standard_library(&self) -> &'static str {
        let answer = self.tool.to_command().arg("-print-file-name=libstdc++.a").output();
        let path =
            answer.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default();
        match path.parent() {
            Some(folder) if self.sanitizer == Sanitizer::None && path.is_absolute() && path.is_file() => {
                println!("cargo::rustc-link-search=native={}", folder.display());
                "static:-bundle=stdc++"
            }
            _ => "dylib=stdc++",
        }
    }
}

/// The emulator's crate, which stands beside this one.
fn emulator() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("kernel-emulator")
}

fn find_tool(root: &Path, includes: &[PathBuf]) -> Option<cc::Tool> {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).includes(includes).warnings(false).cargo_warnings(false);
    // x86-64-v3: 8 floats a register; the emulator's `check_available` asks the processor. No strict aliasing and no
    // contraction of a * b + c, as under nvcc's -fmad the kernels' intrinsics. Messages name files relative to the root.
    for flag in ["-march=x86-64-v3", "-fno-strict-aliasing", "-ffp-contract=off", "-Wno-unknown-pragmas", "-pthread"] {
        build.flag(flag);
    }
    build.flag(format!("-fmacro-prefix-map={}/=", root.display()));
    let compiler = build.try_get_compiler().ok()?;
    let runs = Command::new(compiler.path()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    runs.is_ok_and(|status| status.success()).then_some(compiler)
}
