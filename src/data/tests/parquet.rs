//! Parquet files as `datasets`, pyarrow and the Hub leave them; `fixtures/make_parquet.py` made those that are read here.

use super::parquet_file::{Row, write};
use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures").join(name)
}

/// A PNG of 4x3 pixels of one colour.
pub(super) fn png(rgb: [u8; 3]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 4, 3);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&rgb.repeat(12)).unwrap();
    file
}

/// The note of `datasets` on a column of images and one of labels.
const NOTE: &str = r#"{"info": {"features": {"image": {"_type": "Image"},
    "label": {"names": ["cat", "dog", "ship"], "_type": "ClassLabel"}}}}"#;

#[test]
fn files_of_other_writers_hold_the_same_images() {
    for (name, class_names) in [
        ("datasets.parquet", ["cat", "dog", "ship"]),
        ("zstd.parquet", ["0", "1", "2"]),
        ("gzip.parquet", ["0", "1", "2"]),
        ("lz4.parquet", ["cat", "dog", "ship"]),
        ("snappy.parquet", ["0", "1", "10"]),
    ] {
        let dataset = load(&fixture(name));
        assert_eq!((dataset.format(), dataset.len(), dataset.image_dims()), ("parquet", 6, [3, 4, 3]), "{name}");
        for i in 0..6 {
            let pixel = |k: usize| [40 * i + 10 * (k % 4) + k / 4, 3 * (k % 4), 255 - 40 * i].map(|byte| byte as u8);
            assert_eq!(dataset.image_u8(i), (0..12).flat_map(pixel).collect::<Vec<u8>>(), "{name}, image {i}");
        }
        let labels = match name {
            // Names are sorted: label 0 is the last of them.
            "lz4.parquet" => [2, 1, 0, 2, 1, 0],
            "snappy.parquet" => [10, 11, 12, 10, 11, 12],
            _ => [0, 1, 2, 0, 1, 2],
        };
        assert_eq!(dataset.labels().unwrap(), labels, "{name}");
        assert!(class_names.iter().all(|&of| dataset.class_names().iter().any(|name| name == of)), "{name}");
    }
}

#[test]
fn the_kind_of_labels_is_chosen_by_the_name_of_their_column() {
    let labels = |name: &str| DataOptions { labels: Some(name.into()), ..DataOptions::default() };
    for name in ["coarse", "coarse_label"] {
        let coarse = open_train(&fixture("snappy.parquet"), &labels(name)).unwrap();
        assert_eq!(coarse.labels().unwrap(), [0, 0, 1, 0, 0, 1]);
    }
    let message = complaint_with(&fixture("snappy.parquet"), Split::Train, &labels("colour"));
    assert_says(&message, &["snappy.parquet", "no labels called \"colour\": it has fine_label, coarse_label"]);
}

/// A file with images of these shades; labels 0, 1, 2, 0, ...
fn shades(shades: &[u8]) -> Vec<u8> {
    let images: Vec<Vec<u8>> = shades.iter().map(|&shade| png([shade; 3])).collect();
    let rows: Vec<Row> = images.iter().zip(0..).map(|(png, i)| (Some(&png[..]), None, i % 3)).collect();
    write(&rows, 2, Some(NOTE))
}

fn first_bytes(dataset: &Dataset) -> Vec<u8> {
    (0..dataset.len()).map(|i| dataset.image_u8(i)[0]).collect()
}

#[test]
fn shards_are_read_in_their_order_from_the_layouts_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    for below in ["cifar10/plain_text", "set/data", "flat"] {
        let root = folder.path().join(below);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("train-00001-of-00002.parquet"), shades(&[3, 4, 5])).unwrap();
        fs::write(root.join("train-00000-of-00002.parquet"), shades(&[1, 2])).unwrap();
        fs::write(root.join("test-00000-of-00001.parquet"), shades(&[9])).unwrap();
        let source = folder.path().join(below.split('/').next().unwrap());
        if below.contains('/') {
            fs::write(source.join("README.md"), "---\nlicense: mit\n---\n").unwrap();
        }
        assert_eq!(first_bytes(&load(&source)), [1, 2, 3, 4, 5], "{below}");
        let test = open(source.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!(first_bytes(&test), [9], "{below}");

        // Where there is both, the test split is not mixed with the one for validation.
        fs::write(root.join("validation-00000-of-00001.parquet"), shades(&[7])).unwrap();
        let test = open(source.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!(first_bytes(&test), [9], "{below}");
        assert_says(&test.notes()[0], &["left out: 1 file(s)", "validation-00000-of-00001.parquet"]);
        fs::remove_file(root.join("test-00000-of-00001.parquet")).unwrap();
        let test = open(source.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!(first_bytes(&test), [7], "{below}");

        fs::remove_file(root.join("train-00000-of-00002.parquet")).unwrap();
        assert_says(&complaint(&source), &["shard 0 of 2 is missing beside train-00001-of-00002.parquet"]);
        assert_eq!(load(&root.join("train-00001-of-00002.parquet")).len(), 3);
    }
}

#[test]
fn rows_without_an_image_or_a_class_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let image = png([1, 2, 3]);
    let says = |rows: &[Row], parts: &[&str]| {
        fs::write(&path, write(rows, 2, Some(NOTE))).unwrap();
        assert_says(&complaint(&path), &[&["train.parquet"], parts].concat());
    };
    let sound = (Some(&image[..]), None, 0);
    says(&[sound, sound, sound, (None, None, 1)], &["row 3 has no image: leave such rows out"]);
    says(
        &[sound, sound, (None, Some("/home/me/7.png"), 1)],
        &["row 2 has no image, only its path /home/me/7.png", "embed_table_storage"],
    );
    says(&[sound, (Some(&image[..]), None, 3)], &["row 1, column label: label 3; classes are numbered 0 to 2"]);
    says(&[(Some(&image[..]), None, -1)], &["row 0, column label: label -1 (the labels of this split are hidden)"]);
    says(&[sound, (Some(b"no image"), None, 0)], &["row 1: unreadable image: none of PNG"]);
    says(&[], &["holds 0 rows"]);
    fs::write(&path, write(&[sound, (Some(&png([9; 3])[..]), None, 2)], 2, Some(NOTE))).unwrap();
    assert_eq!(load(&path).class_names(), ["cat", "dog", "ship"]);
}

#[test]
fn groups_of_many_rows_are_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let images: Vec<Vec<u8>> = (0..2500u32).map(|i| png([i as u8, (i >> 8) as u8, 0])).collect();
    let rows: Vec<Row> = images.iter().zip(0..).map(|(png, i)| (Some(&png[..]), None, i)).collect();
    fs::write(&path, write(&rows, 2500, None)).unwrap();
    let dataset = load(&path);
    assert_eq!((dataset.len(), dataset.class_names().len()), (2500, 2500));
    let number = |i: usize| u16::from_le_bytes([dataset.image_u8(i)[0], dataset.image_u8(i)[1]]);
    assert!((0..2500).all(|i| usize::from(number(i)) == i && dataset.labels().unwrap()[i] == i as u32));
}

#[test]
fn damage_and_what_is_not_read_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let sound = shades(&[1, 2, 3]);
    let says = |bytes: &[u8], part: &str| {
        fs::write(&path, bytes).unwrap();
        assert_says(&complaint(&path), &["train.parquet", part]);
    };
    says(&sound[..sound.len() - 1], "truncated: the footer of the parquet file is missing");
    says(&sound[..9], "truncated: 9 bytes are no parquet file");
    says(&[&sound[..sound.len() - 4], b"PARE"].concat(), "encrypted");
    says(&[&sound[..sound.len() - 8], &[255, 255, 255, 0], b"PAR1"].concat(), "it promises a footer of 16777215 bytes");
    says(b"hello", "not recognised");
    let checked = fs::read(fixture("gzip.parquet")).unwrap();
    let mut broken = checked.clone();
    broken[100] ^= 1;
    says(&broken, "its checksum does not fit");
}
