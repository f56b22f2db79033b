//! Damaged files of every format: each opens, or gives one line that names it; none panics or takes much memory.

use super::archives::{grey, tar_of, zip_of};
use super::layouts::npy;
use super::torchvision::{batch, svhn};
use super::*;
use crate::engine::random::{PhiloxRng, Stream};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::panic::catch_unwind;
use std::time::Instant;
use zip::write::SimpleFileOptions;

/// Damaged files of each kind.
pub(crate) const INPUTS: usize = 5000;
/// A gigabyte for the pixels of the largest image, and as much again for what its decoder keeps beside them.
pub(crate) const MOST_BYTES: u64 = 2 << 30;

/// A few changes of the kinds that disks, networks and other programs make.
pub(crate) fn mutate(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=4) {
        // Headers are where damage is worst: half of the changes lie within the first bytes.
        let reach = if rng.random() { bytes.len() } else { bytes.len().min(64) };
        let at = rng.random_range(0..reach.max(1)).min(bytes.len());
        let end = (at + rng.random_range(1..=8)).min(bytes.len());
        match rng.random_range(0..7) {
            0..=1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.random()),
            3 => bytes[at..end].fill(*[0, 0x7f, 0x80, 0xff].choose(rng).unwrap()),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..end)),
            _ => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Largest memory of this process so far, in bytes; 0 where it is not known.
pub(crate) fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kb| 1024 * kb)
}

/// A name for the file, and its bytes.
fn sound_files() -> Vec<(String, Vec<u8>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures");
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() != "py")
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    let labels = [0, 0, 0x0C, 2, 0, 0, 0, 2, 0, 0, 0, 8].into_iter().chain([0; 64]).collect();
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let archive = |name: &str, bytes: &[u8], method| {
        zip_of(&[(name, bytes)], SimpleFileOptions::default().compression_method(method))
    };
    let folders = [("train/a/0.png", grey(6, 1)), ("train/b/0.png", grey(6, 2)), ("test/a/0.png", grey(6, 3))];
    let edm = [
        ("00000/img00000000.png", grey(6, 1)),
        ("dataset.json", br#"{"labels": [["00000/img00000000.png", 6]]}"#.to_vec()),
    ];
    let shard = tar_of(&[
        ("0.png", grey(6, 1)),
        ("0.cls", b"1".to_vec()),
        ("1.png", grey(6, 1)),
        ("1.json", br#"{"label": 3}"#.to_vec()),
    ]);
    let keras = [("x_train.npy", npy(&[2, 3, 3], 0..18u8)), ("y_train.npy", npy(&[2], [1i64, 0]))];
    let images = npy(&[3, 4, 5, 3], 0..180u8);
    files.extend([
        ("images-idx3-ubyte".into(), idx_images(9)),
        ("images-idx3-ubyte.gz".into(), gzip(&idx_images(9))),
        ("qmnist-labels-idx2-int".into(), labels),
        ("cifar-10.bin".into(), cifar_record(3)),
        ("cifar-100.bin".into(), [&[7], &cifar_record(60)[..]].concat()),
        ("stored.npz".into(), archive("arr_0.npy", &images, zip::CompressionMethod::Stored)),
        ("deflated.npz".into(), archive("arr_0.npy", &images, zip::CompressionMethod::Deflated)),
        ("keras.npz".into(), zip_of(&keras, SimpleFileOptions::default())),
        ("folders.zip".into(), zip_of(&folders, SimpleFileOptions::default())),
        ("folders.tar".into(), tar_of(&folders)),
        ("folders.tar.gz".into(), gzip(&tar_of(&folders))),
        ("edm.zip".into(), zip_of(&edm, stored)),
        ("shard.tar".into(), shard.clone()),
        ("shard.tar.gz".into(), gzip(&shard)),
        ("data_batch_1".into(), batch(&[("labels", &[3])])),
        ("cifar-100-train".into(), batch(&[("fine_labels", &[99]), ("coarse_labels", &[7])])),
        ("plain_32x32.mat".into(), svhn(&[1, 10], false)),
        ("train_32x32.mat".into(), svhn(&[1, 10], true)),
        ("train_X.bin".into(), vec![7; 3 * 96 * 96]),
        ("edm-labels/dataset.json".into(), edm[1].1.clone()),
    ]);
    files
}

#[test]
#[ignore = "5,000 damaged files of each kind: some minutes"]
fn damaged_files_give_one_line_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("qmnist-images-idx3-ubyte"), idx_images(2)).unwrap();
    write_grey(folder.path().join("edm-labels/00000/img00000000.png"), 4, 1);
    std::panic::set_hook(Box::new(|_| ()));
    let mut faults = Vec::new();
    for (kind, (name, sound)) in (0..).zip(sound_files()) {
        let path = folder.path().join(&name);
        let is_labels = name.contains("labels");
        let source = if is_labels { path.parent().unwrap() } else { &path };
        let (started, mut opened) = (Instant::now(), 0);
        for input in 0..INPUTS as u64 {
            let mut bytes = sound.clone();
            mutate(&mut bytes, &mut PhiloxRng::new(kind, Stream::new(200), input));
            fs::write(&path, &bytes).unwrap();
            match catch_unwind(|| open_train(source, &DataOptions { size: Some([4, 4]), ..DataOptions::default() })) {
                Ok(Ok(_)) => opened += 1,
                Ok(Err(error)) => {
                    let message = error.to_string();
                    let names = message.contains(&*path.to_string_lossy()) || is_labels;
                    if !names || message.contains('\n') || message.len() >= 1000 {
                        faults.push(format!("{name} {input}: {message}"));
                    }
                }
                Err(_) => faults.push(format!("{name} {input}: a panic")),
            }
        }
        fs::remove_file(&path).unwrap();
        let (seconds, megabytes) = (started.elapsed().as_secs_f64(), peak_memory() >> 20);
        println!(
            "{name:24} {opened:5} of {INPUTS} opened, {seconds:5.1} s, peak {megabytes} MB, {} faults",
            faults.len()
        );
    }
    let _ = std::panic::take_hook();
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(peak_memory() <= MOST_BYTES, "{} bytes", peak_memory());
}
