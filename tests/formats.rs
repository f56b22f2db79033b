//! The table of other files in `docs/formats.md`: what a row says writes a file is run, and what it says reads it.

use ddpm::nn::tensor_file;
use rows::walk;
use std::fs;
use std::path::Path;
use tiny::{ddpm, run_in, train};

#[allow(dead_code)]
#[path = "../src/data/tests/rows.rs"]
mod rows;
mod tiny;

const PNG: &[u8] = b"\x89PNG";
const ZIP: &[u8] = b"PK\x03\x04";
/// A run of points of the plane, of seconds.
const POINTS: &str =
    "train --preset points-2d --device cpu --set train.steps=2 --set sample.n=20 --set sample.steps=3 --out";

/// The name of a row, the file that is written in a folder of its own or in the run, how it begins, and a command that is
/// refused.
const INPUTS: [(&str, &str, &[u8], &str); 20] = [
    ("sheet of samples", "FILE.png", PNG, ""),
    ("strip from noise to images", "FILE.png", PNG, ""),
    ("folder of single images", "DIR/000002.png", PNG, ""),
    ("samples in 8 bits", "FILE.npz", ZIP, ""),
    ("samples as they were drawn", "FILE.npy", b"\x93NUMPY", "ddpm eval FILE.npy REAL --metrics moments"),
    ("samples in another format", "", b"", "ddpm sample RUN --out FILE.jpg"),
    ("points in a table", "FILE.csv", b"x,y\n", ""),
    ("points as arrays", "FILE.npz", ZIP, ""),
    ("plot of points", "FILE.svg", b"<svg ", ""),
    ("points in another format", "", b"", "ddpm sample POINTS --out FILE.pdf"),
    ("results of ddpm eval", "FILE.json", b"{", ""),
    ("tensors of ddpm forward", "FILE.safetensors", b"", ""),
    ("config.toml", "config.toml", b"", ""),
    ("metrics.jsonl", "metrics.jsonl", b"{\"step\":1,", ""),
    ("history.jsonl", "history.jsonl", b"{", ""),
    ("events.out.tfevents.*", "events.out.tfevents.", b"\x1a\0\0\0\0\0\0\0", ""),
    ("loss.svg", "loss.svg", b"<svg ", ""),
    ("samples/step-*.png", "samples/step-00000005.png", PNG, ""),
    ("report.html", "report.html", b"<!doctype html>", ""),
    ("trace of a step", "FILE.json", b"{", ""),
];

/// Folders that the words of a command stand for.
struct Places<'a> {
    words: [(&'a str, &'a Path); 4],
    scratch: &'a Path,
}

impl Places<'_> {
    /// Runs a command; the error is the line that the program says.
    fn call(&self, command: &str) -> Result<(), String> {
        let words = command.trim_matches('`').strip_prefix("ddpm ").expect("a command of the program").split(' ');
        let words = words.map(|word| {
            let place = self.words.iter().find_map(|(name, path)| Some((path, word.strip_prefix(name)?)));
            match place {
                Some((path, rest)) => format!("{}{rest}", path.display()),
                None if word.starts_with("FILE") || word == "DIR/" => format!("{}/{word}", self.scratch.display()),
                None => word.into(),
            }
        });
        let output = ddpm().args(words).args(["--device", "cpu"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or(&said);
        if output.status.success() { Ok(()) } else { Err(error.to_owned()) }
    }

    /// The beginning of a file in the scratch folder, or else in the run.
    fn read(&self, name: &str) -> Vec<u8> {
        let folder = if name.starts_with(['F', 'D']) { self.scratch } else { self.words[0].1 };
        let path = folder.join(name);
        let (parent, name) = (path.parent().unwrap(), path.file_name().unwrap().to_string_lossy());
        let mut files = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
        let found = files.find(|file| file.file_name().unwrap().to_string_lossy().starts_with(&*name));
        fs::read(found.unwrap_or_else(|| panic!("{} is missing", path.display()))).unwrap()
    }
}

#[test]
fn every_row_of_the_table_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let [run, points] = ["run", "points"].map(|name| run_in(&folder, name));
    train(&run, &[]);
    ddpm().args(POINTS.split(' ')).arg(&points).assert().success();
    let input = folder.path().join("input.safetensors");
    let tensors = [("x".to_owned(), vec![1, 1, 8, 8], vec![0.5; 64]), ("t".to_owned(), vec![1], vec![3.0])];
    tensor_file::write(&mut fs::File::create(&input).unwrap(), &tensors, ("format", "pt")).unwrap();
    let real = folder.path().join("real");
    ddpm().args(["sample", "--device", "cpu", "--seed", "1"]).arg(&run).arg("--out").arg(&real).assert().success();

    walk("Other files", &INPUTS.map(|(name, ..)| name), |at, row| {
        let (_, file, beginning, refused) = INPUTS[at];
        let scratch = tempfile::tempdir().unwrap();
        let words = [("RUN", &run), ("POINTS", &points), ("INPUT", &input), ("REAL", &real)];
        let places = Places { words: words.map(|(name, path)| (name, path.as_path())), scratch: scratch.path() };
        // The run is there.
        if !["no", "`ddpm train`"].contains(&&row.written[..]) {
            places.call(&row.written)?;
        }
        if !file.is_empty() {
            let bytes = places.read(file);
            assert!(bytes.starts_with(beginning), "{}: {:?}", row.name, &bytes[..bytes.len().min(16)]);
        }
        if row.read != "no" {
            places.call(&row.read)?;
        }
        if refused.is_empty() { Ok(()) } else { places.call(refused) }
    });
}
