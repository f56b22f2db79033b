//! Archives of images, read without unpacking them: what holds of folders holds inside.

use super::*;
use zip::write::SimpleFileOptions;

/// A zip archive of files.
pub(super) fn zip_of<B: AsRef<[u8]>>(files: &[(&str, B)], options: SimpleFileOptions) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        if name.ends_with('/') {
            archive.add_directory(*name, options).unwrap();
        } else {
            archive.start_file(*name, options).unwrap();
            archive.write_all(bytes.as_ref()).unwrap();
        }
    }
    archive.finish().unwrap().into_inner()
}

/// A tar archive of files, with a folder for each name that ends in a slash.
pub(super) fn tar_of<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(bytes.as_ref().len() as u64);
        archive.append_data(&mut header, name, bytes.as_ref()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The bytes of a grey image.
pub(super) fn grey(side: u32, shade: u8) -> Vec<u8> {
    png(side, side, png::ColorType::Grayscale, &vec![shade; (side * side) as usize])
}

/// Files in all kinds of archives, each in a folder of its own.
fn packed<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Vec<(TempDir, PathBuf)> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let archives = [
        ("deflated.zip", zip_of(files, SimpleFileOptions::default())),
        ("stored.zip", zip_of(files, stored)),
        ("zip64.zip", zip_of(files, SimpleFileOptions::default().large_file(true))),
        ("set.tar", tar_of(files)),
        ("set.tar.gz", gzip(&tar_of(files))),
    ];
    let write = |(name, bytes): (&str, Vec<u8>)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        (folder, path)
    };
    archives.into_iter().map(write).collect()
}

fn load_split(path: &Path, split: Split) -> Dataset {
    open(path.to_str().unwrap(), split, &DataOptions::default()).unwrap()
}

#[test]
fn class_folders_in_an_archive_are_those_of_a_folder() {
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("set/train/10/b.png", grey(4, 1)),
        ("set/train/9/a.png", grey(4, 2)),
        ("set/train/9/deep/er.png", grey(4, 3)),
        ("set/train/10/a.png", grey(6, 4)),
        ("set/train/9/@eaDir/a.png", grey(4, 5)),
        ("set/train/10/.hidden.png", grey(4, 6)),
        ("set/train/10/notes.txt", b"x".to_vec()),
        ("set/test/9/a.png", grey(4, 7)),
        ("set/test/10/a.png", grey(4, 8)),
        ("__MACOSX/set/train/9/._a.png", vec![0; 99]),
    ];
    let outside = tempfile::tempdir().unwrap();
    for (name, bytes) in &files {
        let path = outside.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let images = |set: &Dataset| (0..set.len()).map(|i| set.image_u8(i).to_vec()).collect::<Vec<_>>();
    for split in Split::ALL {
        let expected = load_split(outside.path(), split);
        assert_eq!(expected.class_names(), ["9", "10"]);
        for (folder, path) in packed(&files) {
            // The archive by its path, and the folder that it lies in.
            for source in [&path, folder.path()] {
                let set = load_split(source, split);
                assert_eq!(
                    (set.len(), set.labels(), set.class_names()),
                    (expected.len(), expected.labels(), expected.class_names())
                );
                assert_eq!((images(&set), set.notes()), (images(&expected), expected.notes()), "{source:?}");
            }
        }
    }
    let options = DataOptions { classes: Some(vec![1]), ..DataOptions::default() };
    for (_folder, path) in packed(&files) {
        let ten = open_train(&path, &options).unwrap();
        assert_eq!((ten.class_names(), ten.image_u8(0)[0], ten.image_u8(1)[0]), (&["10".to_owned()][..], 4, 1));
        assert!(ten.format().starts_with("images in a ") && ten.format().ends_with(", a sub-folder per class"));
    }
}

#[test]
fn faults_in_an_archive_name_the_entry() {
    let png = grey(9, 1);
    let bad = [("train/3/a.png", &png[..40]), ("train/3/b.png", &png), ("train/4/c.jpg", b"hello")];
    for (_folder, path) in packed(&bad) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_says(&complaint(&path), &[name, ": 2 unreadable images: train/3/a.png (", "train/4/c.jpg (none of "]);
    }
    for (_folder, path) in packed(&bad[..2]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_says(&complaint(&path), &[&format!("{name}: train/3/a.png: unreadable image: ")]);
    }
    for (_folder, path) in packed(&[("cat/a.png", &png[..]), ("dog/", b"")]) {
        assert_says(&complaint(&path), &[": dog: holds no images that can be read", "a class must not be empty"]);
    }
    for (_folder, path) in packed(&[("data_batch_1.bin", cifar_record(3))]) {
        assert_says(
            &complaint(&path),
            &["holds no images (1 file(s), such as data_batch_1.bin)", "unpack it (", "give the folder"],
        );
    }
    for (_folder, path) in packed::<&[u8]>(&[]) {
        assert!(complaint(&path).contains("holds no images") || path.extension().unwrap() != "zip");
    }
}

#[test]
fn the_split_may_be_in_the_archive_s_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
    write("train.zip", zip_of(&[("a/0.png", grey(4, 1)), ("b/0.png", grey(4, 2))], SimpleFileOptions::default()));
    write("test.tar.gz", gzip(&tar_of(&[("test/a/0.png", grey(4, 3)), ("test/b/0.png", grey(4, 4))])));
    assert_eq!(load(folder.path()).image_u8(1)[0], 2);
    let test = load_split(folder.path(), Split::Test);
    assert_eq!((test.len(), test.image_u8(0)[0], test.class_names().len()), (2, 3, 2));
    write("train-2.zip", zip_of(&[("a/0.png", grey(4, 1))], SimpleFileOptions::default()));
    assert_says(&complaint(folder.path()), &["several archives (train-2.zip, train.zip): give the path of one"]);
}

#[test]
fn what_an_archive_may_not_promise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.zip");
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    // Two gigabytes of zeros after the beginning of an image, in two megabytes.
    let bomb = || {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive.start_file("a/bomb.png", SimpleFileOptions::default().large_file(true)).unwrap();
        archive.write_all(&grey(4, 1)).unwrap();
        (0..513).for_each(|_| archive.write_all(&vec![0; 1 << 20]).unwrap());
        archive.finish().unwrap().into_inner()
    };
    write(&bomb());
    assert_says(&complaint(&path), &["set.zip: a/bomb.png: ", "entries of at most 536870912 are read"]);
    // The directory promises less than follows, and more.
    let sound = zip_of(&[("a/0.png", grey(4, 1))], SimpleFileOptions::default());
    let directory = sound.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for (size, says) in [(20u32, "larger than its declared"), (2000, "promises 2000 bytes, but ")] {
        let mut bytes = sound.clone();
        bytes[directory + 24..directory + 28].copy_from_slice(&size.to_le_bytes());
        write(&bytes);
        assert_says(&complaint(&path), &["set.zip: a/0.png: ", says]);
    }
    // A directory whose entries share their bytes.
    let twice = zip_of(&[("a/0.png", grey(64, 1)), ("a/1.png", grey(64, 1))], SimpleFileOptions::default());
    let mut bytes = twice.clone();
    for (at, _) in twice.windows(4).enumerate().filter(|(_, window)| *window == b"PK\x01\x02") {
        bytes[at + 20..at + 24].copy_from_slice(&(twice.len() as u32 * 3 / 4).to_le_bytes());
    }
    write(&bytes);
    assert_says(&complaint(&path), &["set.zip: ", "they overlap"]);
    let mut bytes = sound.clone();
    bytes[6] |= 1;
    bytes[directory + 8] |= 1;
    write(&bytes);
    assert_says(&complaint(&path), &["a/0.png is encrypted", "unpack it with its password (unzip set.zip)"]);
    let mut bytes = sound;
    bytes[8] = 12;
    bytes[directory + 10] = 12;
    write(&bytes);
    assert_says(&complaint(&path), &["a/0.png is packed by ", "stored and deflated entries are read"]);
    write(b"PK\x03\x04 and no more");
    assert_says(&complaint(&path), &["damaged zip archive"]);
}

#[test]
fn a_tar_archive_cut_short_is_refused() {
    let whole = tar_of(&[("a/0.png", grey(40, 1)), ("b/0.png", grey(40, 2))]);
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("set.tar"), folder.path().join("set.tar.gz"));
    let zipped = gzip(&whole);
    // Zeros end an archive: what is cut there is not missed.
    let data = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for length in (600..data).step_by(97) {
        fs::write(&plain, &whole[..length]).unwrap();
        assert_says(&complaint(&plain), &["set.tar"]);
    }
    for length in (20..zipped.len()).step_by(11) {
        fs::write(&packed, &zipped[..length]).unwrap();
        assert_says(&complaint(&packed), &["set.tar.gz", "truncated"]);
    }
}

const LABELS: &str =
    r#"{"labels": [["00000/img00000000.png", 6], ["00001/img00001000.png", 2], ["00000/img00000001.png", 6]]}"#;

#[test]
fn edm_s_labels_are_in_dataset_json() {
    let files = |labels: &str| {
        let images = [("00001/img00001000.png", 3), ("00000/img00000000.png", 1), ("00000/img00000001.png", 2)];
        let mut files: Vec<(&str, Vec<u8>)> = images.iter().map(|(name, shade)| (*name, grey(4, *shade))).collect();
        files.push(("dataset.json", labels.as_bytes().to_vec()));
        files
    };
    let sources = |labels: &str| {
        let outside = tempfile::tempdir().unwrap();
        for (name, bytes) in files(labels) {
            let path = outside.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let path = outside.path().to_owned();
        packed(&files(labels)).into_iter().chain([(outside, path)]).collect::<Vec<_>>()
    };
    for (_folder, path) in sources(LABELS) {
        let set = load(&path);
        assert_eq!((set.labels().unwrap(), set.class_names().len()), (&[6, 6, 2][..], 7));
        assert_eq!([0, 1, 2].map(|i| set.image_u8(i)[0]), [1, 2, 3], "in the order of the names");
        assert!(set.format().ends_with("labels of dataset.json"), "{}", set.format());
        assert_says(&complaint_with(&path, Split::Test, &DataOptions::default()), &["no test split"]);
        let options = DataOptions { classes: Some(vec![2]), ..DataOptions::default() };
        assert_eq!(open_train(&path, &options).unwrap().image_u8(0)[0], 3);
    }
    for (_folder, path) in sources(r#"{"labels": null}"#) {
        assert_eq!((load(&path).len(), load(&path).labels()), (3, None));
    }
    let short = LABELS.replace(r#", ["00001/img00001000.png", 2]"#, "");
    let extra = LABELS.replace("]]}", r#"], ["00009/x.png", 1]]}"#);
    for (labels, says) in [
        (short.as_str(), "has no label for 1 of 3 images, such as 00001/img00001000.png"),
        (&LABELS.replace(" 2]", " -2]"), "00001/img00001000.png has label -2; classes are numbered"),
        (&LABELS.replace(" 2]", " [0.5, 0.5]]"), "with class numbers, or null"),
        (&LABELS[..40], "with class numbers, or null"),
    ] {
        for (_folder, path) in sources(labels) {
            assert_says(&complaint(&path), &["dataset.json: ", says]);
        }
    }
    for (_folder, path) in sources(&extra) {
        assert_says(&load(&path).notes()[0], &["names 1 image(s) that are not there"]);
    }
    // A file of that name which another program wrote.
    for (_folder, path) in sources(r#"{"name": "pictures"}"#) {
        assert_eq!(load(&path).class_names(), ["00000", "00001"]);
    }
}
