//! Which file uses which: paths followed through modules and re-exports to the file that defines the item.

use super::source::{Import, Names, Source, Sources, join};
use std::collections::{BTreeMap, BTreeSet};

/// Where a path leads.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Module(String),
    /// An item, in the module that defines it.
    Item(String),
}

/// Names of all modules.
pub struct Modules<'a> {
    /// The file of each module.
    files: BTreeMap<String, &'a str>,
    names: BTreeMap<&'a str, Names>,
    items: BTreeSet<(String, String)>,
    imports: BTreeMap<String, Vec<Import>>,
}

/// A use of one file by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: String,
    pub to: String,
    /// True if an item is used, not only the name of a module.
    pub is_item: bool,
}

impl<'a> Modules<'a> {
    pub fn new(sources: &'a Sources) -> Modules<'a> {
        let mut modules = Modules {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
        };
        for source in sources.values().filter(|s| s.path.starts_with("src/")) {
            let names = source.names();
            modules.files.insert(source.module(), &source.path);
            modules.files.extend(names.modules.iter().map(|module| (module.clone(), source.path.as_str())));
            modules.items.extend(names.definitions.iter().cloned());
            for import in &names.imports {
                modules.imports.entry(import.scope.clone()).or_default().push(import.clone());
            }
            modules.names.insert(&source.path, names);
        }
        modules
    }

    /// Every use of one file by another, each once.
    pub fn arrows(&self) -> BTreeSet<Arrow> {
        self.names.iter().flat_map(|(file, names)| self.arrows_of(file, names)).collect()
    }

    /// A re-export is no use, but for the modules' rooms: the name alone is passed on.
    fn arrows_of(&self, from: &str, names: &Names) -> Vec<Arrow> {
        let arrow = |target: Target, counts: bool| {
            let (module, is_item) = match target {
                Target::Module(module) => (module, false),
                Target::Item(module) => (module, true),
            };
            let to = self.files[&module];
            (to != from).then(|| Arrow { from: from.into(), to: to.into(), is_item: is_item && counts })
        };
        let imported = names.imports.iter().flat_map(|import| {
            let targets = match import.name.as_str() {
                "*" => self.all_of(&import.scope, &import.path[..import.path.len() - 1]),
                _ => self.targets(&import.scope, &import.path, &mut Vec::new()),
            };
            targets.into_iter().filter_map(|target| arrow(target, !import.is_public)).collect::<Vec<_>>()
        });
        let mentioned = names.mentions.iter().flat_map(|(scope, path)| {
            let targets = self.targets(scope, path, &mut Vec::new());
            targets.into_iter().filter_map(|target| arrow(target, true)).collect::<Vec<_>>()
        });
        imported.chain(mentioned).collect()
    }

    /// Targets of `use path::*`: the items of that module, and what it passes on.
    fn all_of(&self, scope: &str, path: &[String]) -> Vec<Target> {
        let mut found = Vec::new();
        for target in self.targets(scope, path, &mut Vec::new()) {
            let Target::Module(module) = target else { continue };
            for import in self.imports.get(&module).into_iter().flatten().filter(|import| import.is_public) {
                found.extend(self.targets(&import.scope, &import.path, &mut Vec::new()));
            }
            found.push(Target::Item(module));
        }
        found
    }

    /// Follows a path that stands in the module `scope`. None if it leads to other crates, or to nothing known.
    /// An import is followed once: some lead back to themselves.
    fn targets<'b>(&'b self, scope: &str, path: &[String], followed: &mut Vec<&'b Import>) -> Vec<Target> {
        let mut module = scope.to_owned();
        let mut names = path;
        while let [first, rest @ ..] = names {
            match first.as_str() {
                "crate" | "ddpm" => module = String::new(),
                "super" => module = module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.into()),
                "self" => {}
                _ => break,
            }
            names = rest;
        }
        let [name, rest @ ..] = names else { return vec![Target::Module(module)] };
        self.lookup(&module, name, rest, followed)
    }

    fn lookup<'b>(&'b self, module: &str, name: &str, rest: &[String], followed: &mut Vec<&'b Import>) -> Vec<Target> {
        let mut found = Vec::new();
        let child = join(module, name);
        if self.files.contains_key(&child) {
            found.extend(match rest {
                [] => vec![Target::Module(child)],
                [name, rest @ ..] => self.lookup(&child, name, rest, followed),
            });
        }
        if self.items.contains(&(module.to_owned(), name.to_owned())) {
            found.push(Target::Item(module.into()));
        }
        for import in self.imports.get(module).into_iter().flatten() {
            let is_glob = import.name == "*";
            if (import.name != name && !is_glob) || followed.iter().any(|other| std::ptr::eq(*other, import)) {
                continue;
            }
            followed.push(import);
            let path = match is_glob {
                true => [&import.path[..import.path.len() - 1], &[name.to_owned()], rest].concat(),
                false => [&import.path[..], rest].concat(),
            };
            found.extend(self.targets(&import.scope, &path, followed));
        }
        found
    }
}

/// The arrows that lie on a circle: their ends reach each other.
pub fn circles(arrows: &BTreeSet<Arrow>) -> Vec<&Arrow> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arrow in arrows.iter().filter(|arrow| arrow.is_item) {
        next.entry(&arrow.from).or_default().push(&arrow.to);
    }
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(file) = open.pop() {
            let new: Vec<&str> = next.get(file).into_iter().flatten().copied().filter(|f| seen.insert(f)).collect();
            open.extend(new);
        }
        seen.contains(to)
    };
    arrows.iter().filter(|arrow| arrow.is_item && reaches(&arrow.to, &arrow.from)).collect()
}

/// The files that are compiled for tests alone: those that a `#[cfg(test)] mod` names, and all below them.
pub fn test_files(sources: &Sources) -> BTreeSet<String> {
    let folders: Vec<String> = sources
        .values()
        .flat_map(|source: &Source| source.test_modules.iter().map(|name| join(&source.module(), name)))
        .collect();
    let is_test = |source: &&Source| {
        let module = source.module();
        folders.iter().any(|folder| module == *folder || module.starts_with(&format!("{folder}::")))
    };
    sources.values().filter(is_test).map(|source| source.path.clone()).collect()
}
