//! Small files of every format, sound and damaged, opened as a user would.

mod archives;
mod layouts;
pub(crate) mod mutations;
mod parquet;
mod parquet_file;
pub(crate) mod rows;
mod streaming;
mod table;
mod torchvision;
mod webdataset;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;
use crate::Result;

/// Bytes of a CIFAR-10 record.
const RECORD: usize = 3073;

fn open_train(path: &Path, options: &DataOptions) -> Result<Dataset> {
    open(path.to_str().unwrap(), Split::Train, options)
}

fn load(path: &Path) -> Dataset {
    open_train(path, &DataOptions::default()).unwrap()
}

/// The error of opening `path`, which must be one line.
fn complaint(path: &Path) -> String {
    complaint_with(path, Split::Train, &DataOptions::default())
}

fn complaint_with(path: &Path, split: Split, options: &DataOptions) -> String {
    let message = open(path.to_str().unwrap(), split, options).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is missing in: {message}");
    }
}

fn idx(dims: &[u32], elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let header = [0, 0, 8, dims.len() as u8].into_iter().chain(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    header.chain(elements).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `n` images of 4x3 whose first pixel is their number, and labels 0, 1, 2, 0, ...
fn idx_images(n: u8) -> Vec<u8> {
    idx(&[u32::from(n), 4, 3], (0..n).flat_map(|i| (0..12).map(move |k| if k == 0 { i } else { 20 * k })))
}

fn idx_labels(n: u8) -> Vec<u8> {
    idx(&[u32::from(n)], (0..n).map(|i| i % 3))
}

/// A folder of idx files with 7 images to train on and 2 to test on.
fn mnist(compress: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        let (name, bytes) = if compress { (format!("{name}.gz"), gzip(&bytes)) } else { (name.into(), bytes) };
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    write("train-images-idx3-ubyte", idx_images(7));
    write("train-labels-idx1-ubyte", idx_labels(7));
    write("t10k-images-idx3-ubyte", idx_images(2));
    write("t10k-labels-idx1-ubyte", idx_labels(2));
    folder
}

fn cifar_record(label: u8) -> Vec<u8> {
    let planes = [10 + label, 100, 200].into_iter().flat_map(|value| [value; 1024]);
    std::iter::once(label).chain(planes).collect()
}

/// Writes an image of one colour; of a `.jpg`, the one JPEG file that there is, red and 8x8.
fn write_image(path: PathBuf, width: u32, height: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.extension().unwrap() == "jpg" {
        assert_eq!((width, height, colour), (8, 8, [250, 0, 0]));
        return fs::write(path, include_bytes!("../fixtures/red.jpg")).unwrap();
    }
    fs::write(path, png(width, height, png::ColorType::Rgb, &colour.repeat((width * height) as usize))).unwrap();
}

fn write_grey(path: PathBuf, side: u32, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, png(side, side, png::ColorType::Grayscale, &vec![shade; (side * side) as usize])).unwrap();
}

fn png(width: u32, height: u32, colour: png::ColorType, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    file
}

#[test]
fn idx_files_are_found_by_split_plain_or_compressed() {
    for compress in [false, true] {
        let folder = mnist(compress);
        let train = load(folder.path());
        assert_eq!((train.len(), train.image_dims()), (7, [4, 3, 1]));
        assert_eq!(train.labels().unwrap(), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(train.image_u8(5), [5, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220]);
        assert_eq!(train.format(), if compress { "idx, gzip" } else { "idx, mapped" });
        let test = open(folder.path().to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!(test.len(), 2);
    }
}

#[test]
fn idx_content_counts_not_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pictures.dat");
    fs::write(&path, gzip(&idx_images(3))).unwrap();
    assert_eq!(load(&path).len(), 3);
    assert!(load(&path).labels().is_none());
    fs::write(folder.path().join("answers"), idx_labels(3)).unwrap();
    assert_eq!(load(folder.path()).labels().unwrap(), [0, 1, 2]);
    assert_says(&complaint_with(folder.path(), Split::Test, &DataOptions::default()), &["no test split"]);
    // Both forms of one file, as other programs leave them: still one set.
    let both = mnist(true);
    fs::write(both.path().join("train-images-idx3-ubyte"), idx_images(7)).unwrap();
    assert_eq!(load(both.path()).format(), "idx, mapped");
    // Data in a folder inside the folder.
    let outer = tempfile::tempdir().unwrap();
    fs::rename(mnist(false).keep(), outer.path().join("raw")).unwrap();
    assert_eq!(load(outer.path()).len(), 7);
}

#[test]
fn damaged_idx_files_are_explained() {
    let folder = mnist(false);
    let images = folder.path().join("train-images-idx3-ubyte");
    let good = fs::read(&images).unwrap();

    fs::write(&images, &good[..50]).unwrap();
    let truncated = "truncated: its header promises 7 x 4 x 3 = 84 bytes of data, but 34 follow";
    assert_says(&complaint(folder.path()), &["train-images-idx3-ubyte", truncated]);
    fs::write(&images, &good[..9]).unwrap();
    assert_says(&complaint(folder.path()), &["truncated", "header of 16 bytes", "ends after 9"]);
    fs::write(&images, [&good[..], &[0]].concat()).unwrap();
    assert_says(&complaint(folder.path()), &["too long", "85 follow"]);
    fs::write(&images, idx(&[u32::MAX, u32::MAX, u32::MAX], [])).unwrap();
    assert_says(&complaint(folder.path()), &["truncated"]);
    fs::write(&images, idx(&[0, 4, 3], [])).unwrap();
    assert_says(&complaint(folder.path()), &["no pixels"]);
    fs::write(&images, [0, 0, 0x0D, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_says(&complaint(folder.path()), &["type 0x0d", "unsigned bytes"]);
    fs::write(&images, idx_images(5)).unwrap();
    assert_says(&complaint(folder.path()), &["train-labels-idx1-ubyte", "7 labels", "5 images"]);
    fs::write(&images, []).unwrap();
    assert_says(&complaint(&images), &["the file is empty"]);
    assert_says(&complaint(folder.path()), &["train-images-idx3-ubyte", "the file is empty"]);
}

#[test]
fn damaged_gzip_files_are_explained() {
    let folder = mnist(true);
    let images = folder.path().join("train-images-idx3-ubyte.gz");
    let good = fs::read(&images).unwrap();
    fs::write(&images, &good[..good.len() - 12]).unwrap();
    assert_says(&complaint(folder.path()), &["train-images-idx3-ubyte.gz", "truncated"]);
    fs::write(&images, &good[..5]).unwrap();
    assert_says(&complaint(folder.path()), &["train-images-idx3-ubyte.gz", "truncated"]);
    let mut wrong = good.clone();
    let checksum = wrong.len() - 6;
    wrong[checksum] ^= 1;
    fs::write(&images, &wrong).unwrap();
    assert_says(&complaint(folder.path()), &["train-images-idx3-ubyte.gz", "corrupt gzip"]);
}

#[test]
fn cifar_batches_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    let write = |name: &str, labels: &[u8]| {
        fs::write(inner.join(name), labels.iter().flat_map(|&label| cifar_record(label)).collect::<Vec<_>>()).unwrap();
    };
    write("data_batch_1.bin", &[3, 9, 0]);
    write("data_batch_2.bin", &[1, 2, 3, 4]);
    write("test_batch.bin", &[5]);
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    fs::write(inner.join("batches.meta.txt"), names).unwrap();

    let train = load(folder.path());
    assert_eq!((train.len(), train.image_dims()), (7, [32, 32, 3]));
    assert_eq!(train.labels().unwrap(), [3, 9, 0, 1, 2, 3, 4]);
    assert_eq!(train.image_u8(1)[3 * 1023..], [19, 100, 200]);
    assert_eq!(train.class_names()[3], "cat");
    let test = open(folder.path().to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
    assert_eq!(test.labels().unwrap(), [5]);
    assert_eq!(load(&inner.join("test_batch.bin")).len(), 1);

    let batch = inner.join("data_batch_2.bin");
    let good = fs::read(&batch).unwrap();
    fs::write(&batch, &good[..3 * RECORD + 5]).unwrap();
    assert_says(&complaint(folder.path()), &["data_batch_2.bin", "truncated: 9224 bytes", "3073-byte"]);
    assert_says(&complaint(&batch), &["truncated"]);
    fs::write(&batch, []).unwrap();
    assert_says(&complaint(folder.path()), &["data_batch_2.bin", "the file is empty"]);
    fs::write(&batch, vec![77; 2 * RECORD]).unwrap();
    assert_says(&complaint(folder.path()), &["data_batch_2.bin", "record 0 has label 77"]);

    let pickles = tempfile::tempdir().unwrap();
    fs::write(pickles.path().join("data_batch_1"), b"\x80\x02}q\x01").unwrap();
    assert_says(&complaint(pickles.path()), &["Python pickle that holds no batch of CIFAR-10 or CIFAR-100"]);
}

#[test]
fn folders_of_images_become_classes_of_one_size() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_image(root.join("train/red/b.png"), 8, 8, [255, 0, 0]);
    write_image(root.join("train/red/a.jpg"), 8, 8, [250, 0, 0]);
    write_image(root.join("train/blue/odd.png"), 11, 5, [0, 0, 255]);
    write_image(root.join("train/blue/p.png"), 8, 8, [0, 0, 250]);
    write_grey(root.join("train/grey/deep/er.png"), 6, 77);
    fs::rename(root.join("train/red/b.png"), root.join("train/red/really-a-png.jpg")).unwrap();
    write_image(root.join("test/red/x.png"), 8, 8, [1, 2, 3]);
    fs::write(root.join("train/red/.hidden"), "x").unwrap();
    fs::write(root.join("train/red/notes.txt"), "x").unwrap();

    let train = load(root);
    assert_eq!((train.len(), train.image_dims()), (5, [5, 11, 3]));
    assert_eq!(train.class_names(), ["blue", "grey", "red"]);
    assert_eq!(train.labels().unwrap(), [0, 1, 2, 0, 2], "the classes take turns");
    assert_eq!(train.image_u8(0)[..3], [0, 0, 255]);
    assert_eq!(train.image_u8(1)[..3], [77, 77, 77]);
    assert_eq!(train.image_u8(4)[..3], [255, 0, 0]);

    let options = DataOptions { size: Some([4; 2]), classes: Some(vec![2, 0]), ..DataOptions::default() };
    let some = open_train(root, &options).unwrap();
    assert_eq!((some.image_dims(), some.labels().unwrap()), ([4, 4, 3], &[1, 0, 1, 0][..]));
    assert_eq!(some.class_names(), ["red", "blue"]);

    let grey = DataOptions { channels: Some(1), ..DataOptions::default() };
    assert_says(&complaint_with(root, Split::Train, &grey), &["colour images", "1 channel"]);
    let to_grey = open_train(root, &DataOptions { to_grey: true, ..grey }).unwrap();
    assert_eq!(to_grey.image_u8(4)[0], 76);
    assert_eq!(to_grey.image_u8(1)[0], 77);

    let test = open(root.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
    assert_eq!((test.len(), test.image_u8(0)[..3].to_vec()), (1, vec![1, 2, 3]));
    assert_says(&complaint_with(&root.join("train"), Split::Test, &DataOptions::default()), &["no test split"]);
}

#[test]
fn a_flat_folder_has_no_labels_and_a_single_image_is_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    write_grey(folder.path().join("1.png"), 6, 77);
    write_grey(folder.path().join("2.png"), 9, 78);
    let flat = load(folder.path());
    assert_eq!((flat.len(), flat.image_dims(), flat.labels()), (2, [6, 6, 1], None));
    assert_eq!(load(&folder.path().join("2.png")).image_dims(), [9, 9, 1]);
    let classes = DataOptions { classes: Some(vec![1]), ..DataOptions::default() };
    assert_says(&complaint_with(folder.path(), Split::Train, &classes), &["no labels"]);
    write_grey(folder.path().join("class/3.png"), 6, 77);
    assert_says(&complaint(folder.path()), &["both loose (such as 1.png) and in sub-folders"]);
}

#[test]
fn broken_images_and_unusable_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert_says(&complaint(root), &["the folder is empty"]);
    assert_says(&complaint(&root.join("missing")), &["no data set", "missing"]);
    fs::write(root.join("notes.txt"), "hello").unwrap();
    assert_says(
        &complaint(root),
        &["no idx files, STL-10 files, CIFAR-10 batches,", "GIF, TIFF) found", "1 other file(s)"],
    );
    assert_says(&complaint(&root.join("notes.txt")), &["not recognised"]);
    fs::write(root.join("train.tar.xz"), b"\xfd7zXZ\0").unwrap();
    assert_says(&complaint(root), &["train.tar.xz", "unpack it (tar xJf train.tar.xz)"]);
    fs::write(root.join("labels"), idx_labels(3)).unwrap();
    assert_says(&complaint(&root.join("labels")), &["holds labels"]);

    write_image(root.join("class/a.png"), 30, 30, [1, 2, 3]);
    let png = fs::read(root.join("class/a.png")).unwrap();
    for (name, bytes) in [("cut.png", &png[..60]), ("text.jpg", b"hello"), ("empty.png", b"")] {
        let path = root.join("class").join(name);
        fs::write(&path, bytes).unwrap();
        assert_says(&complaint(root), &[name, "unreadable image"]);
        fs::remove_file(path).unwrap();
    }
    assert_eq!(load(root).len(), 1);
}

#[test]
fn classes_are_kept_in_the_order_asked_for() {
    let folder = mnist(false);
    let choose = |classes: &[u32]| DataOptions { classes: Some(classes.to_vec()), ..DataOptions::default() };
    let chosen = open_train(folder.path(), &choose(&[2, 0])).unwrap();
    assert_eq!(chosen.labels().unwrap(), [1, 0, 1, 0, 1]);
    assert_eq!(chosen.class_names(), ["2", "0"]);
    assert_eq!((0..5).map(|i| chosen.image_u8(i)[0]).collect::<Vec<_>>(), [0, 2, 3, 5, 6]);
    for (classes, says) in [(&[7][..], "no images of class 7"), (&[], "is empty"), (&[1, 1], "listed twice")] {
        assert_says(&complaint_with(folder.path(), Split::Train, &choose(classes)), &[says]);
    }
}

#[test]
fn images_take_the_size_and_channels_of_the_model() {
    let folder = mnist(true);
    let options = DataOptions { size: Some([6; 2]), channels: Some(3), ..DataOptions::default() };
    let dataset = open_train(folder.path(), &options).unwrap();
    assert_eq!(dataset.image_dims(), [6, 6, 3]);
    assert!(dataset.image_u8(3).chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    for (size, channels, says) in [(Some([0, 4]), None, "at least 1 pixel"), (None, Some(2), "not 2")] {
        let options = DataOptions { size, channels, ..DataOptions::default() };
        assert_says(&complaint_with(folder.path(), Split::Train, &options), &[says]);
    }
}

#[test]
fn a_batch_is_scaled_and_mirrored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images");
    fs::write(&path, idx(&[2, 1, 2, 3], [0, 255, 1, 2, 3, 4, 10, 20, 30, 40, 50, 60])).unwrap();
    let dataset = load(&path);
    assert_eq!(dataset.image_dims(), [1, 2, 3]);
    let mut batch = [f32::NAN; 12];
    dataset.fill_batch(&[0, 1], &[false, true], &mut batch).unwrap();
    assert_eq!(batch[..2], [-1.0, 1.0]);
    let levels = batch.map(|x| x * 127.5 + 127.5);
    for (level, expected) in levels.into_iter().zip([0u8, 255, 1, 2, 3, 4, 40, 50, 60, 10, 20, 30]) {
        assert!((level - f32::from(expected)).abs() <= 1e-4, "{levels:?}");
    }
}

#[test]
fn glyphs_have_any_size_and_a_summary() {
    let options = DataOptions { size: Some([8; 2]), classes: Some(vec![1, 2, 3]), ..DataOptions::default() };
    let info = info("glyphs", Split::Test, &options).unwrap();
    assert_eq!(info.dims, [3000, 8, 8, 1]);
    assert_eq!(info.classes, [("1".into(), 1000), ("2".into(), 1000), ("3".into(), 1000)]);
    let text = info.to_string();
    assert_says(&text, &["name      glyphs", "split     test", "8x8, grey", "images    3000"]);
}

#[test]
fn summaries_are_exact_and_previews_show_every_class() {
    let folder = tempfile::tempdir().unwrap();
    for (class, colour) in [("a", [0, 51, 255]), ("b", [255, 204, 255])] {
        (0..3).for_each(|i| write_image(folder.path().join(format!("{class}/{i}.png")), 2, 2, colour));
    }
    let source = folder.path().to_str().unwrap();
    let info = info(source, Split::Train, &DataOptions::default()).unwrap();
    let expected = [(0.0, 1.0), (0.0, 0.6), (1.0, 0.0)];
    for (statistics, (mean, std)) in info.statistics.iter().zip(expected) {
        assert!((statistics.mean - mean).abs() <= 1e-12 && (statistics.std - std).abs() <= 1e-9, "{statistics:?}");
    }
    assert_eq!(spread(&load(folder.path()), 5), [0, 1, 2, 3, 4]);
    assert_eq!(spread(&load(folder.path()), 99).len(), 6);
}
