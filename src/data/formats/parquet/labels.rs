//! The labels of parquet files: numbers of classes, or names.

use std::collections::BTreeMap;
use std::path::Path;

use super::columns::Columns;
use super::footer::Footer;
use super::pages::read_rows;
use super::thrift::Parsed;
use super::values::Value;
use crate::data::formats::format::{LAST_CLASS, number};

/// The labels of all files, as they are collected.
#[derive(Debug, Default)]
pub(super) struct Labels {
    labels: Vec<u32>,
    /// The classes as a file lists them.
    listed: Option<Vec<String>>,
    /// The classes that are named in the rows, and the labels that they have until all are known.
    named: BTreeMap<String, u32>,
}

impl Labels {
    /// Adds the labels of a file, if it has some.
    pub fn add(&mut self, path: &Path, footer: &Footer, columns: &Columns) -> Parsed<()> {
        let Some(column) = columns.label else { return Ok(()) };
        let name = &footer.columns[column].path;
        if self.listed.is_some() && columns.class_names.is_some() && self.listed != columns.class_names {
            return Err(format!("the classes of column {name} are not those of the files before"));
        }
        self.listed = self.listed.take().or_else(|| columns.class_names.clone());
        let first = self.labels.len();
        for group in &footer.groups {
            let chunk = &group.chunks[column];
            read_rows(path, &footer.columns[column], chunk, 0..group.rows, &mut |_, value| {
                let row = self.labels.len() - first;
                let label = self.label(value).map_err(|reason| format!("row {row}, column {name}: {reason}"))?;
                self.labels.push(label);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn label(&mut self, value: Option<Value>) -> Parsed<u32> {
        match value {
            Some(Value::Integer(label)) => {
                let most = self.listed.as_ref().map_or(LAST_CLASS as usize, |names| names.len().saturating_sub(1));
                u32::try_from(label).ok().filter(|&label| label as usize <= most).ok_or_else(|| {
                    let hidden = if label == -1 { " (the labels of this split are hidden)" } else { "" };
                    format!("label {label}{hidden}; classes are numbered 0 to {most}")
                })
            }
            Some(Value::Bytes(name)) => {
                let name = std::str::from_utf8(name).map_err(|_| "the name of a class is no text")?;
                if let Some(&label) = self.named.get(name) {
                    return Ok(label);
                }
                if self.named.len() > LAST_CLASS as usize {
                    return Err(format!("more than {LAST_CLASS} classes"));
                }
                let label = self.named.len() as u32;
                self.named.insert(name.into(), label);
                Ok(label)
            }
            None => Err("has no label: leave such rows out".into()),
        }
    }

    /// The labels and the names of the classes: named ones are sorted.
    pub fn finish(mut self) -> Option<(Vec<u32>, Vec<String>)> {
        if self.labels.is_empty() {
            return None;
        }
        if !self.named.is_empty() {
            let mut sorted = vec![0; self.named.len()];
            (0..).zip(self.named.values()).for_each(|(place, &label)| sorted[label as usize] = place);
            self.labels.iter_mut().for_each(|label| *label = sorted[*label as usize]);
            return Some((self.labels, self.named.into_keys().collect()));
        }
        Some(match self.listed {
            Some(names) => (self.labels, names),
            None => number(self.labels),
        })
    }
}
