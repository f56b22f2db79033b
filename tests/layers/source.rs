//! Rust source as tokens: enough of the language to see names, paths, imports, definitions and what is only for tests.

use std::collections::BTreeMap;

/// One file of the tree, cut into tokens.
#[derive(Debug)]
pub struct Source {
    /// From the root of the repository, e.g. `src/engine/tape/mod.rs`.
    pub path: String,
    pub text: String,
    /// Code of the library or program.
    pub tokens: Vec<String>,
    /// Code that is compiled for tests alone.
    pub test_tokens: Vec<String>,
    /// Names of the modules, in files of their own, that are compiled for tests alone.
    pub test_modules: Vec<String>,
}

/// A `use` of one name, in the module `scope`.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub scope: String,
    pub path: Vec<String>,
    /// The name that it gives; `*` for all of a module's.
    pub name: String,
    /// True if others may import the name from here.
    pub is_public: bool,
}

/// Names and paths of one file, with the modules in which they stand.
#[derive(Debug, Default)]
pub struct Names {
    pub imports: Vec<Import>,
    /// Module and path of everything that is mentioned outside of imports.
    pub mentions: Vec<(String, Vec<String>)>,
    /// Module and name of every item that is defined at its top.
    pub definitions: Vec<(String, String)>,
    /// The modules inside the file.
    pub modules: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let (tokens, test_tokens, test_modules) = split_tests(tokens(text));
        Source { path: path.into(), text: text.into(), tokens, test_tokens, test_modules }
    }

    /// The path of its module, e.g. `engine::tape`; empty for the root of the library.
    pub fn module(&self) -> String {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" { String::new() } else { path.replace('/', "::") }
    }

    pub fn names(&self) -> Names {
        let mut names = Names::default();
        let mut walk = Walk { tokens: &self.tokens, at: 0, scopes: vec![(self.module(), 0)], depth: 0 };
        walk.run(&mut names);
        names
    }
}

/// `a::b`, or `b` where `a` is the root.
pub fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.into() } else { format!("{module}::{name}") }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, numbers, `::` and single signs. Comments go; a literal is an empty string in quotes.
pub fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let start = i;
        match chars[i] {
            '/' if at(i + 1) == '/' => i += chars[i..].iter().take_while(|c| **c != '\n').count(),
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
                tokens.push("\"\"".into());
            }
            // A lifetime, or a character.
            '\'' if at(i + 1) != '\\' && at(i + 2) != '\'' => {
                i += 1 + chars[i + 1..].iter().take_while(|c| is_name(c)).count();
            }
            '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                i += chars[i..].iter().take_while(|c| **c != '\'').count() + 1;
                tokens.push("\"\"".into());
            }
            c if is_name(&c) => {
                i += chars[i..].iter().take_while(|c| is_name(c)).count();
                let name: String = chars[start..i].iter().collect();
                let marks = chars[i..].iter().take_while(|c| **c == '#').count();
                let is_raw = ["r", "br", "cr"].contains(&name.as_str()) && at(i + marks) == '"';
                if is_raw {
                    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
                    i += marks + 1;
                    i += chars[i..].windows(end.len()).take_while(|w| *w != end).count() + end.len();
                    tokens.push("\"\"".into());
                } else if !(["b", "c"].contains(&name.as_str()) && ['"', '\''].contains(&at(i))) {
                    tokens.push(name);
                }
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                tokens.push("::".into());
            }
            c => {
                i += 1;
                if !c.is_whitespace() {
                    tokens.push(c.into());
                }
            }
        }
    }
    tokens
}

/// The index after the bracket that closes the one at `open`.
fn after_bracket(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The index after the item that starts at `start`: past its `;`, or the brace that closes its body.
fn after_item(tokens: &[String], start: usize) -> usize {
    let mut i = start;
    let is_use = tokens[start..].iter().take(8).take_while(|t| *t != ";").any(|t| t == "use");
    while i < tokens.len() {
        match tokens[i].as_str() {
            ";" => return i + 1,
            "{" if !is_use => return after_bracket(tokens, i),
            "(" | "[" | "{" => i = after_bracket(tokens, i),
            _ => i += 1,
        }
    }
    i
}

/// Takes the items under `#[cfg(test)]` out; their tokens, and the names of those that are modules in other files.
fn split_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut rest, mut tests, mut modules, mut i) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        let is_attribute = tokens[i] == "#" && tokens.get(i + 1).is_some_and(|t| t == "[");
        let end = if is_attribute { after_bracket(&tokens, i + 1) } else { i + 1 };
        let cfg = &tokens[i..end];
        let is_test =
            is_attribute && cfg[2] == "cfg" && cfg.iter().any(|t| t == "test") && !cfg.iter().any(|t| t == "not");
        if !is_test {
            rest.extend_from_slice(cfg);
            i = end;
            continue;
        }
        let mut item = end;
        while tokens.get(item).is_some_and(|t| t == "#") {
            item = after_bracket(&tokens, item + 1);
        }
        i = after_item(&tokens, item);
        let words: Vec<&str> = tokens[item..i].iter().map(String::as_str).collect();
        if let [.., "mod", name, ";"] = words[..] {
            modules.push(name.into());
        }
        tests.extend_from_slice(&tokens[item..i]);
    }
    (rest, tests, modules)
}

/// Where a reading of a file's tokens has come.
struct Walk<'a> {
    tokens: &'a [String],
    at: usize,
    /// The modules around, and how many braces were open when each began.
    scopes: Vec<(String, usize)>,
    depth: usize,
}

impl Walk<'_> {
    fn token(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", String::as_str)
    }

    fn run(&mut self, names: &mut Names) {
        while self.at < self.tokens.len() {
            let (scope, opened) = self.scopes.last().expect("the file's own").clone();
            match self.token(self.at) {
                "{" => self.depth += 1,
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.scopes.len() > 1 && self.depth < opened {
                        self.scopes.pop();
                    }
                }
                "use" => {
                    self.import(&scope, names);
                    continue;
                }
                "mod" if self.token(self.at + 2) == "{" => {
                    let module = join(&scope, self.token(self.at + 1));
                    names.modules.push(module.clone());
                    self.depth += 1;
                    self.scopes.push((module, self.depth));
                    self.at += 3;
                    continue;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" | "macro_rules"
                    if self.depth == opened =>
                {
                    let skipped = ["!", "mut"].contains(&self.token(self.at + 1)) as usize;
                    let name = self.token(self.at + 1 + skipped);
                    if is_word(name) && !["fn", "unsafe", "extern", "async"].contains(&name) {
                        names.definitions.push((scope, name.into()));
                        self.at += 2 + skipped;
                        continue;
                    }
                }
                "mod" if self.token(self.at + 2) == ";" => self.at += 2,
                token if is_word(token) && ![".", "::"].contains(&self.before()) => {
                    let mut path = vec![token.to_owned()];
                    while self.token(self.at + 1) == "::" && is_word(self.token(self.at + 2)) {
                        path.push(self.token(self.at + 2).into());
                        self.at += 2;
                    }
                    names.mentions.push((scope, path));
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn before(&self) -> &str {
        self.at.checked_sub(1).map_or("", |i| self.token(i))
    }

    fn import(&mut self, scope: &str, names: &mut Names) {
        let is_public = match self.before() {
            "pub" => true,
            // pub(crate), pub(in a::b)
            ")" => self.tokens[..self.at].iter().rev().take(8).any(|t| t == "pub"),
            _ => false,
        };
        self.at += 1;
        let mut found = Vec::new();
        self.tree(&[], &mut found);
        self.at += 1;
        names.imports.extend(found.into_iter().map(|(path, name)| Import {
            scope: scope.into(),
            path,
            name,
            is_public,
        }));
    }

    /// Reads a tree of names up to what follows it.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let mut path = prefix.to_vec();
        loop {
            match self.token(self.at) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.token(self.at)) {
                        self.tree(&path, found);
                        self.at += (self.token(self.at) == ",") as usize;
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    let name = self.token(self.at + 1).to_owned();
                    self.at += 2;
                    return found.push((path, name));
                }
                token if is_word(token) || token == "*" => {
                    // `a::{self}` is `a`.
                    if token != "self" || path.is_empty() {
                        path.push(token.into());
                    }
                    self.at += 1;
                }
                _ => break,
            }
        }
        if let Some(name) = path.last().cloned() {
            found.push((path, name));
        }
    }
}

/// The files of a tree by path.
pub type Sources = BTreeMap<String, Source>;
