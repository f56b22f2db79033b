//! A choice of the classes of a data set.

use crate::{Error, Result};

/// A choice of classes.
#[derive(Debug)]
pub(super) struct ClassFilter {
    classes: Vec<u32>,
}

/// The samples that a [`ClassFilter`] keeps.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) kept: Vec<usize>,
    pub(super) labels: Vec<u32>,
    pub(super) class_names: Vec<String>,
}

impl ClassFilter {
    pub(super) fn new(classes: &[u32]) -> Result<ClassFilter> {
        if classes.is_empty() {
            return Err(Error::Config("the list of classes is empty: leave it out to use all of them".into()));
        }
        if let Some(twice) = classes.iter().enumerate().find_map(|(i, c)| classes[..i].contains(c).then_some(c)) {
            return Err(Error::Config(format!("class {twice} is listed twice")));
        }
        Ok(ClassFilter { classes: classes.to_vec() })
    }

    /// The images whose class is chosen, with their new labels.
    pub(super) fn apply(&self, name: &str, labels: &[u32], class_names: &[String]) -> Result<Chosen> {
        if labels.is_empty() {
            return Err(Error::Config(format!("{name} has no labels, so classes {:?} cannot be chosen", self.classes)));
        }
        let new_label = |label: u32| self.classes.iter().position(|&class| class == label);
        if let Some(unknown) = self.classes.iter().find(|class| !labels.contains(class)) {
            return Err(Error::Config(format!(
                "{name} has no images of class {unknown}; it has {} classes",
                class_names.len()
            )));
        }
        let (kept, labels) =
            labels.iter().enumerate().filter_map(|(i, &label)| Some((i, new_label(label)? as u32))).unzip();
        let class_names = self.classes.iter().map(|&class| class_names[class as usize].clone()).collect();
        Ok(Chosen { kept, labels, class_names })
    }
}
