//! The functions of the NVIDIA driver that are looked up before a GPU is used: all that our code can call through the
//! binding (cudarc), whose source tells which these are. One that is missing there would be a panic at its first call.

#[allow(dead_code)]
#[path = "layers/source.rs"]
mod source;

use source::tokens;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Types of the binding that we hold: their methods are those that a call may mean, and they are dropped.
const TYPES: [&str; 8] = [
    "CudaContext",
    "CudaStream",
    "CudaEvent",
    "CudaModule",
    "CudaFunction",
    "CudaGraph",
    "PinnedHostSlice",
    "DriverError",
];

/// Functions that a name leads to, but no call of ours.
const NOT_CALLED: [(&str, &str); 4] = [
    ("cuCtxDestroy_v2", "contexts that are no device's primary one"),
    ("cuCtxSynchronize", "`synchronize` of a context: we call that of streams and events"),
    ("cuEventElapsedTime_v2", "the binding for later versions"),
    ("cuModuleLoad", "modules in files: ours are images"),
];

/// A function of the binding.
struct Function {
    /// Tokens of the module or `impl` around it.
    owner: Vec<String>,
    name: String,
    body: Vec<String>,
}

fn functions(tokens: &[String]) -> Vec<Function> {
    let (mut found, mut owners, mut depth, mut i) = (Vec::new(), Vec::<(Vec<String>, usize)>::new(), 0, 0);
    let to_brace =
        |from: usize| tokens[from..].iter().position(|t| t == "{" || t == ";").map_or(tokens.len(), |n| from + n);
    while i < tokens.len() {
        match tokens[i].as_str() {
            "mod" | "impl" | "fn" => {
                let open = to_brace(i);
                if tokens.get(open).is_some_and(|t| t == "{") {
                    if tokens[i] == "fn" {
                        let mut open_braces = 0;
                        let end = tokens[open..].iter().position(|t| {
                            open_braces += (t == "{") as i32 - (t == "}") as i32;
                            open_braces == 0
                        });
                        let end = open + end.expect("braces match");
                        let owner = owners.last().map_or(Vec::new(), |(owner, _)| owner.clone());
                        found.push(Function { owner, name: tokens[i + 1].clone(), body: tokens[open..end].to_vec() });
                        i = end;
                    } else {
                        owners.push((tokens[i + 1..open].to_vec(), depth));
                        depth += 1;
                        i = open;
                    }
                }
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                owners.pop_if(|(_, at)| *at == depth);
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// The binding, and the calls that have been followed.
struct Calls {
    /// Functions around the driver's own, by `module::name`.
    plain: Vec<Function>,
    /// Methods of [`TYPES`].
    methods: Vec<Function>,
    seen: BTreeSet<(bool, usize)>,
    driver: BTreeSet<String>,
}

impl Calls {
    fn new(binding: &Path) -> Calls {
        let read = |file: &str| functions(&tokens(&fs::read_to_string(binding.join(file)).unwrap()));
        let of_types = |f: &Function| f.owner.iter().any(|token| TYPES.contains(&token.as_str()));
        let methods =
            ["safe/core.rs", "safe/graph.rs", "result.rs"].into_iter().flat_map(read).filter(of_types).collect();
        Calls { plain: read("result.rs"), methods, seen: BTreeSet::new(), driver: BTreeSet::new() }
    }

    /// Follows all calls in a piece of code; in the file of the plain functions these go by their names.
    fn follow(&mut self, code: &[String], is_plain: bool) {
        for (i, name) in code.iter().enumerate() {
            let before = |n: usize| i.checked_sub(n).map_or("", |i| code[i].as_str());
            let is_called = match code.get(i + 1).map(String::as_str) {
                Some("(") => true,
                Some("::") => code.get(i + 2).is_some_and(|t| t == "<"),
                _ => false,
            };
            if !is_called {
                continue;
            }
            if before(1) == "::" && before(2) == "sys" && is_driver_function(name) {
                self.driver.insert(name.clone());
            }
            let path: Vec<&str> = [before(4), before(2)].into_iter().filter(|_| before(1) == "::").collect();
            let (plain, methods): (Vec<usize>, Vec<usize>) = (
                (0..self.plain.len())
                    .filter(|&n| {
                        let Function { owner, name: other, .. } = &self.plain[n];
                        let module = owner.first().map_or("", String::as_str);
                        name == other
                            && (is_plain || path.contains(&"result"))
                            && (module.is_empty() || path.contains(&module))
                    })
                    .collect(),
                (0..self.methods.len())
                    .filter(|&n| [".", "::"].contains(&before(1)) && self.methods[n].name == *name)
                    .collect(),
            );
            plain.into_iter().for_each(|n| self.enter(true, n));
            methods.into_iter().for_each(|n| self.enter(false, n));
        }
    }

    fn enter(&mut self, is_plain: bool, n: usize) {
        if self.seen.insert((is_plain, n)) {
            let list = if is_plain { &self.plain } else { &self.methods };
            let body = list[n].body.clone();
            self.follow(&body, is_plain);
        }
    }
}

/// `cuInit`, not the binding's own `culib`.
fn is_driver_function(name: &str) -> bool {
    name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(char::is_uppercase))
}

/// The folder of the binding's source, where cargo has it.
fn binding() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO")?;
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked"];
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let manifest =
        text.split("\"manifest_path\":\"").map(|part| part.split('"').next().unwrap_or("")).find(|path| {
            Path::new(path)
                .parent()
                .is_some_and(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("cudarc-")))
        })?;
    Some(Path::new(manifest).parent()?.join("src/driver"))
}

#[test]
fn every_function_of_the_driver_that_can_be_called_is_looked_up_before() {
    let Some(binding) = binding() else { ddpm::skip!("no cargo to ask where the source of cudarc is") };
    let mut calls = Calls::new(&binding);
    assert!(calls.plain.len() > 80 && calls.methods.len() > 60, "cudarc's source is not read as it was");
    let mut probed = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/device/cuda")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        calls.follow(&tokens(code), false);
        if path.ends_with("probe.rs") {
            probed.extend(code.split('"').filter(|text| is_driver_function(text)).map(str::to_owned));
        }
    }
    for n in 0..calls.methods.len() {
        if calls.methods[n].name == "drop" {
            calls.enter(false, n);
        }
    }
    for (name, reason) in NOT_CALLED {
        assert!(calls.driver.remove(name), "{name} ({reason}): no name leads to it any more");
    }
    assert!(calls.driver.len() > 40, "{:?}", calls.driver);
    assert_eq!(probed, calls.driver);
}
