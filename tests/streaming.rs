//! Training on a set that stays on the disk: the same bits at any number of threads, and after a resume.

use parquet_file::{Row, write};
use std::fs;
use std::path::Path;
use tiny::{ddpm, result, run_in, tiny_args};

#[path = "../src/data/tests/parquet_file.rs"]
mod parquet_file;
mod tiny;

/// Grey images of 2x2 pixels, in two files of many groups. At the model's 32x32 they take more than a megabyte.
fn write_images(folder: &Path) {
    let image = |i: u32| {
        let mut file = Vec::new();
        let header = png::Encoder::new(&mut file, 2, 2).write_header();
        header.unwrap().write_image_data(&[0, 40, 80, 120].map(|shade| shade + (i % 120) as u8)).unwrap();
        file
    };
    let images: Vec<Vec<u8>> = (0..1300).map(image).collect();
    let rows: Vec<Row> = images.iter().map(|png| (Some(&png[..]), None, 0)).collect();
    for (name, rows) in [("train-00000-of-00002.parquet", &rows[..500]), ("train-00001-of-00002.parquet", &rows[500..])]
    {
        fs::write(folder.join(name), write(rows, 60, None)).unwrap();
    }
}

#[test]
fn a_run_from_the_disk_has_the_same_bits_at_any_thread_count_and_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    write_images(&data);
    let train = |name: &str, threads: &str, more: &[&str]| {
        let run = run_in(&folder, name);
        let mut command = ddpm();
        command.args(tiny_args(&run)).args(["--data", data.to_str().unwrap()]).env("RAYON_NUM_THREADS", threads);
        let settings = [
            "model.image_size=32",
            "model.channels=[4, 8]",
            "data.limit=0",
            "data.memory_limit=1",
            "data.shuffle_window=200",
            "train.lr_schedule=constant",
            "train.warmup_steps=5",
            "train.validation_fraction=0.05",
            "train.validate_every=4",
        ];
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let said = command.args(more).assert().success();
        (run, String::from_utf8(said.get_output().stdout.clone()).unwrap())
    };
    let (whole, said) = train("whole", "2", &[]);
    assert!(said.contains("the images stay on the disk: 2 MB of pixels"), "{said}");
    let (alone, _) = train("alone", "1", &[]);
    assert!(result(&whole, 12) == result(&alone, 12), "the runs differ");
    train("resumed", "2", &["--set", "train.steps=7"]);
    let (resumed, _) = train("resumed", "1", &["--resume", "--set", "train.steps=12"]);
    let (a, b) = (result(&whole, 12), result(&resumed, 12));
    assert_eq!(a.0, b.0, "the resumed run's losses differ");
    assert!(a.1 == b.1, "the resumed run's checkpoint differs");
}
