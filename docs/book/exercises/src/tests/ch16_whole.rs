use crate::ch16_whole::{Disk, replace};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names, and the number of the file that each stands for.
type Names = BTreeMap<String, usize>;

/// A file: what was written, and how much of it is on the disk for certain.
#[derive(Clone, Default)]
struct File {
    written: Vec<u8>,
    on_disk: Vec<u8>,
}

/// A disk that remembers what it was after each call.
#[derive(Clone, Default)]
struct Recorder {
    files: Vec<File>,
    /// The names that are on the disk, and those after each later change.
    names: Vec<Names>,
    history: Vec<Recorder>,
}

impl Recorder {
    fn new(name: &str, bytes: &[u8]) -> Recorder {
        let file = File { written: bytes.to_vec(), on_disk: bytes.to_vec() };
        Recorder { files: vec![file], names: vec![Names::from([(name.to_owned(), 0)])], history: vec![] }
    }

    fn now(&self) -> &Names {
        self.names.last().unwrap()
    }

    fn file(&mut self, name: &str) -> &mut File {
        let number = *self.now().get(name).unwrap_or_else(|| panic!("there is no file {name}"));
        &mut self.files[number]
    }

    fn record(&mut self) {
        let state = Recorder { history: vec![], ..self.clone() };
        self.history.push(state);
    }

    /// What a file may hold after a power cut: for all names that may be there, all that may be left of its bytes.
    fn after_a_power_cut(&self, name: &str) -> Vec<Option<Vec<u8>>> {
        let mut possible = Vec::new();
        for names in &self.names {
            let Some(&number) = names.get(name) else {
                possible.push(None);
                continue;
            };
            let File { written, on_disk } = &self.files[number];
            possible.extend([Some(on_disk.clone()), Some(written.clone())]);
            if written != on_disk {
                possible.push(Some(written[..written.len() / 2].to_vec()));
            }
        }
        possible
    }
}

impl Disk for Recorder {
    fn create(&mut self, name: &str) {
        if self.now().contains_key(name) {
            self.file(name).written.clear();
        } else {
            let mut names = self.now().clone();
            names.insert(name.to_owned(), self.files.len());
            self.names.push(names);
            self.files.push(File::default());
        }
        self.record();
    }

    fn write(&mut self, name: &str, bytes: &[u8]) {
        self.file(name).written.extend_from_slice(bytes);
        self.record();
    }

    fn sync(&mut self, name: &str) {
        let file = self.file(name);
        file.on_disk = file.written.clone();
        self.record();
    }

    fn rename(&mut self, from: &str, to: &str) {
        let mut names = self.now().clone();
        let number = names.remove(from).unwrap_or_else(|| panic!("there is no file {from}"));
        names.insert(to.to_owned(), number);
        self.names.push(names);
        self.record();
    }

    fn sync_folder(&mut self) {
        self.names = vec![self.now().clone()];
        self.record();
    }
}

const OLD: &[u8] = b"the old checkpoint";
const NEW: &[u8] = b"the new one, which is longer";

fn text(found: &Option<Vec<u8>>) -> Option<Cow<'_, str>> {
    found.as_deref().map(String::from_utf8_lossy)
}

#[test]
fn the_file_is_old_or_new_after_a_power_cut_at_any_moment() {
    let mut disk = Recorder::new("kept", OLD);
    replace(&mut disk, "kept", NEW);
    for (calls, state) in disk.history.iter().enumerate() {
        for found in state.after_a_power_cut("kept") {
            let is_whole = found.as_deref().is_some_and(|bytes| bytes == OLD || bytes == NEW);
            assert!(is_whole, "after {} calls the file may be {:?}", calls + 1, text(&found));
        }
    }
}

#[test]
fn it_is_new_once_it_was_replaced_and_nothing_else_is_left() {
    let mut disk = Recorder::new("kept", OLD);
    replace(&mut disk, "kept", NEW);
    for found in disk.after_a_power_cut("kept") {
        assert!(found.as_deref() == Some(NEW), "it has returned, and the file may still be {:?}", text(&found));
    }
    assert_eq!(disk.now().len(), 1, "left over: {:?}", disk.now());
}

#[test]
fn what_an_earlier_power_cut_left_does_no_harm() {
    let mut disk = Recorder::new("kept", OLD);
    replace(&mut disk, "kept", NEW);
    for mut state in disk.history.clone() {
        replace(&mut state, "kept", OLD);
        assert!(state.after_a_power_cut("kept").iter().all(|found| found.as_deref() == Some(OLD)));
    }
}
