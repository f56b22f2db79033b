//! The tables of `docs/formats.md`, each row of which is tried with a small input.

use std::fs;
use std::path::Path;

/// A folder that an input is written to.
pub struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    /// Writes a file and returns its name.
    pub fn write(&self, name: &'static str, bytes: impl AsRef<[u8]>) -> &'static str {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        name
    }

    /// Writes files and returns the folder.
    pub fn write_all<B: AsRef<[u8]>>(&self, files: &[(&'static str, B)]) -> &'static str {
        files.iter().for_each(|(name, bytes)| {
            self.write(name, bytes);
        });
        "."
    }
}

/// A row of a table.
pub struct Row {
    /// The first column up to a colon or comma: what follows explains it.
    pub name: String,
    pub read: String,
    pub written: String,
    pub advice: String,
}

impl Row {
    fn new(line: &str) -> Row {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, format, read, written, advice, _] = columns[..] else { panic!("four columns are wanted: {line}") };
        let name = format.split([':', ',']).next().unwrap_or_default();
        let [name, read, written, advice] = [name, read, written, advice.trim_matches('`')].map(String::from);
        Row { name, read, written, advice }
    }
}

/// Tries every row of a section with the input of its name, whose place `attempt` is given: what is read must succeed, what
/// is not must be refused in one line with the words of the last column.
pub fn walk(section: &str, inputs: &[&str], mut attempt: impl FnMut(usize, &Row) -> Result<(), String>) {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md")).unwrap();
    let section = document.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Row> = section.lines().filter(|line| line.starts_with('|')).skip(2).map(Row::new).collect();
    for input in inputs {
        assert_eq!(rows.iter().filter(|row| row.name == *input).count(), 1, "rows for the input \"{input}\"");
    }
    for row in rows {
        let Row { name, read, advice, .. } = &row;
        let place = inputs.iter().position(|input| input == name);
        let outcome = attempt(place.unwrap_or_else(|| panic!("the row \"{name}\" has no input")), &row);
        if read != "no" || advice.is_empty() {
            assert!(read != "no" || row.written != "no", "{name}: what to do?");
            outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        } else {
            let message = outcome.expect_err(name);
            assert!(
                message.contains(advice) && !message.contains('\n'),
                "{name}: \"{advice}\" is missing in: {message}"
            );
        }
    }
}
