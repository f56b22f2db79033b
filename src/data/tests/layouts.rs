//! Folders as people have them: odd names, other programs' files, several kinds of images.

use super::*;
use npyz::WriterBuilder;

/// Folders with so many images each, below a new folder.
fn folders(images: &[(&str, usize)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, n) in images {
        (0..*n).for_each(|i| write_grey(folder.path().join(name).join(format!("{i}.png")), 4, i as u8));
    }
    folder
}

fn copy(name: &str, to: PathBuf) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/fixtures");
    fs::copy(fixtures.join(name), to).unwrap();
}

#[test]
fn a_folder_called_like_a_split_may_be_a_class() {
    let vehicles = folders(&[("bus", 3), ("car", 4), ("train", 5)]);
    let dataset = load(vehicles.path());
    assert_eq!((dataset.len(), dataset.class_names()), (12, &["bus", "car", "train"].map(String::from)[..]));
    assert!(dataset.notes()[0].contains("train is a class, not a split"), "{:?}", dataset.notes());
    let coins = load(folders(&[("invalid", 2), ("valid", 3)]).path());
    assert_eq!((coins.len(), coins.class_names().len()), (5, 2));
    // The partner, and nothing but words beside them.
    let splits = folders(&[("train/a", 3), ("train/b", 3), ("test/a", 1), ("test/b", 1)]);
    fs::create_dir(splits.path().join("notes")).unwrap();
    fs::write(splits.path().join("notes/README"), "x").unwrap();
    assert_eq!((load(splits.path()).len(), load(splits.path()).notes().len()), (6, 0));
    // Within a split such a name is a class again.
    let inner = folders(&[("train/train", 1), ("train/bus", 1), ("test/train", 1), ("test/bus", 1)]);
    assert_eq!(load(inner.path()).class_names(), ["bus", "train"]);
}

#[test]
fn a_set_called_after_a_word_that_holds_a_split_has_no_split() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["carnival-images-idx3-ubyte", "latest.bin"] {
        let path = folder.path().join(name);
        fs::write(&path, idx_images(3)).unwrap();
        assert_eq!(load(folder.path()).len(), 3, "{name}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn all_kinds_of_images_are_read_and_the_rest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (to, from) in [
        ("cat/0.png", "colour.png"),
        ("cat/1.jpg", "colour.jpg"),
        ("cat/2.webp", "lossless.webp"),
        ("cat/3.jpg", "lossy.webp"),
        ("dog/0.gif", "colour.gif"),
        ("dog/1.bmp", "colour.bmp"),
        ("dog/2.tiff", "lzw.tiff"),
    ] {
        copy(from, root.join(to));
    }
    fs::write(root.join("dog/Thumbs.db"), [0xd0; 600]).unwrap();
    fs::write(root.join("dog/notes.txt"), "x").unwrap();
    let dataset = load(root);
    assert_eq!((dataset.len(), dataset.class_names().len(), dataset.image_dims()), (7, 2, [8, 12, 3]));
    let notes = dataset.notes().join("\n");
    assert_says(
        &notes,
        &["1 file(s) that are no images (dog/notes.txt)", "1 leftover(s) of other programs (dog/Thumbs.db)"],
    );

    fs::create_dir(root.join("owl")).unwrap();
    fs::write(root.join("owl/0.heic"), b"\0\0\0\x18ftypheic").unwrap();
    assert_says(&complaint(root), &["owl: holds no images", "a class must not be empty"]);
}

#[test]
fn what_other_programs_leave_is_no_data() {
    let folder =
        folders(&[("cat", 2), ("dog", 2), ("cat/@eaDir/0.png", 1), (".ipynb_checkpoints", 1), ("dog/.cache", 1)]);
    assert_eq!((load(folder.path()).len(), load(folder.path()).class_names().len()), (4, 2));
    assert_says(&load(folder.path()).notes()[0], &["left out: 1 leftover(s) of other programs (cat/@eaDir)"]);
    // As a Macintosh packs an archive: the other halves of its files lie beside the data.
    let mac = folders(&[("animals/cat", 1), ("animals/dog", 1)]);
    let shadow = mac.path().join("__MACOSX/animals/cat");
    fs::create_dir_all(&shadow).unwrap();
    fs::write(shadow.join("._0.png"), [0; 300]).unwrap();
    assert_eq!(load(mac.path()).class_names(), ["cat", "dog"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_never_in_a_circle() {
    let folder = folders(&[("a", 2), ("b", 2)]);
    std::os::unix::fs::symlink("..", folder.path().join("a/all")).unwrap();
    assert_eq!(load(folder.path()).class_names(), ["a", "b"]);
}

#[test]
fn classes_called_by_numbers_are_in_the_order_of_the_numbers() {
    let numbers = load(folders(&[("0", 1), ("1", 1), ("10", 1), ("11", 1), ("2", 1)]).path());
    assert_eq!(numbers.class_names(), ["0", "1", "2", "10", "11"]);
    let words = folders(&[("1", 1), ("10", 1), ("2", 1), ("ten", 1)]);
    assert_eq!(load(words.path()).class_names(), ["1", "10", "2", "ten"]);
    let options = DataOptions { classes: Some(vec![7]), ..DataOptions::default() };
    let message = complaint_with(words.path(), Split::Train, &options);
    assert_says(&message, &["no images of class 7; its classes are 0 (1), 1 (10), 2, 3 (ten)"]);
}

#[test]
fn all_bad_files_are_named_at_once() {
    let folder = folders(&[("a", 3), ("b", 3)]);
    let png = fs::read(folder.path().join("a/0.png")).unwrap();
    for (name, bytes) in
        [("a/cut.png", &png[..40]), ("a/empty.jpg", b""), ("b/half.png", &png[..50]), ("b/text.gif", b"hello")]
    {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let message = complaint(folder.path());
    assert_says(
        &message,
        &["4 unreadable images: ", "a/cut.png (", "a/empty.jpg (the file is empty)", "b/half.png (", "b/text.gif ("],
    );
}

#[test]
fn turned_photographs_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    copy("turned.jpg", folder.path().join("0.jpg"));
    copy("turned.jpg", folder.path().join("1.jpg"));
    let dataset = load(folder.path());
    assert_eq!(dataset.image_dims(), [12, 8, 3]);
    assert_says(&dataset.notes()[0], &["turned 2 image(s) upright"]);
}

#[test]
fn emnist_is_turned_upright_and_its_letters_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), gzip(&bytes)).unwrap();
    write("emnist-letters-train-images-idx3-ubyte.gz", idx(&[2, 2, 3], [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]));
    write("emnist-letters-train-labels-idx1-ubyte.gz", idx(&[2], [26, 1]));
    let letters = load(folder.path());
    assert_eq!((letters.image_dims(), letters.image_u8(0)), ([3, 2, 1], &[0, 3, 1, 4, 2, 5][..]));
    assert_eq!((letters.labels().unwrap(), letters.class_names().len()), (&[25, 0][..], 26));
    assert_eq!([letters.class_names()[0].as_str(), letters.class_names()[25].as_str()], ["A", "Z"]);
    assert_says(&letters.notes()[0], &["EMNIST"]);
    fs::write(folder.path().join("emnist-letters-mapping.txt"), "1 97\n26 113 \n").unwrap();
    assert_eq!(
        (load(folder.path()).labels().unwrap(), load(folder.path()).class_names()),
        (&[1, 0][..], &["a", "q"].map(String::from)[..])
    );
}

/// As torchvision leaves EMNIST: six sets in one folder.
#[test]
fn one_of_several_sets_is_named_by_its_file_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: String, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
    for (set, n) in [("letters", 3), ("digits", 2)] {
        for (split, n) in [("train", n), ("test", n + 4)] {
            write(format!("emnist-{set}-{split}-images-idx3-ubyte"), idx_images(n));
            write(format!("emnist-{set}-{split}-labels-idx1-ubyte"), idx_labels(n));
        }
    }
    assert_says(&complaint(folder.path()), &["several sets of images", "give the path of one"]);
    let digits = folder.path().join("emnist-digits-train-images-idx3-ubyte");
    assert_eq!((load(&digits).len(), load(&digits).labels().unwrap()), (2, &[0, 1][..]));
    let test = open(digits.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
    assert_eq!((test.len(), test.labels().unwrap()), (6, &[0, 1, 2, 0, 1, 2][..]));
    // What is no file to train on has no test split.
    let test = folder.path().join("emnist-digits-test-images-idx3-ubyte");
    assert_says(&complaint_with(&test, Split::Test, &DataOptions::default()), &["a single file has no test split"]);
}

#[test]
fn the_first_column_of_qmnist_s_labels_is_the_class() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("qmnist-train-images-idx3-ubyte"), idx_images(2)).unwrap();
    let rows = [[7i32, 1, 9, 9, 9, 9, 9, 9], [2, 8, 9, 9, 9, 9, 9, 9]].concat();
    let labels = |rows: &[i32]| {
        let head = [0, 0, 0x0C, 2, 0, 0, 0, 2, 0, 0, 0, 8];
        head.into_iter().chain(rows.iter().flat_map(|n| n.to_be_bytes())).collect::<Vec<u8>>()
    };
    let path = folder.path().join("qmnist-train-labels-idx2-int");
    fs::write(&path, labels(&rows)).unwrap();
    assert_eq!(load(folder.path()).labels().unwrap(), [7, 2]);
    fs::write(&path, labels(&[&[-1][..], &rows[1..]].concat())).unwrap();
    assert_says(&complaint(folder.path()), &["label 0 is -1; classes are numbered 0 to 65535"]);
}

/// The stream would inflate to 64 MB; the header promises 84 bytes, and no more than one beyond them is read.
#[test]
fn a_compressed_file_is_read_to_its_promised_end() {
    let folder = mnist(true);
    let images = folder.path().join("train-images-idx3-ubyte.gz");
    fs::write(&images, gzip(&[idx_images(7), vec![0; 64 << 20]].concat())).unwrap();
    assert_says(
        &complaint(folder.path()),
        &["too long: its header promises 7 x 4 x 3 = 84 bytes of data, but 85 or more follow"],
    );
    fs::write(&images, gzip(&idx(&[u32::MAX, 4, 3], []))).unwrap();
    assert_says(&complaint(folder.path()), &["more than 8589934592 bytes", "unpack it"]);
}

pub(super) fn npy<T: npyz::AutoSerialize>(shape: &[u64], values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut array = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
    array.extend(values).unwrap();
    array.finish().unwrap();
    bytes
}

/// An archive of arrays.
pub(super) fn npz(path: &Path, arrays: &[(&str, Vec<u8>)]) {
    let names: Vec<String> = arrays.iter().map(|(name, _)| format!("{name}.npy")).collect();
    let files: Vec<(&str, &Vec<u8>)> =
        names.iter().map(String::as_str).zip(arrays.iter().map(|(_, bytes)| bytes)).collect();
    fs::write(path, archives::zip_of(&files, zip::write::SimpleFileOptions::default())).unwrap();
}

#[test]
fn samples_of_improved_diffusion_are_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples_3x4x5x3.npz");
    let images = npy(&[3, 4, 5, 3], 0..180u8);
    let write = |images: &[u8]| npz(&path, &[("arr_0", images.to_vec()), ("arr_1", npy(&[3], [1i64, 0, 2]))]);
    write(&images);
    let samples = load(&path);
    assert_eq!((samples.len(), samples.image_dims(), samples.labels().unwrap()), (3, [4, 5, 3], &[1, 0, 2][..]));
    assert_eq!(samples.image_u8(1)[..3], [60, 61, 62]);
    write(&images[..images.len() - 7]);
    assert_says(&complaint(&path), &["arr_0: truncated: its header promises 180 bytes of data, but 173 follow"]);
    let mut odd = images.clone();
    odd[20] = b'@';
    write(&odd);
    assert_says(&complaint(&path), &["arr_0: its header is damaged"]);
}

#[test]
fn one_npz_may_hold_both_splits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnist.npz");
    for [x_train, y_train, x_test, y_test] in
        [["x_train", "y_train", "x_test", "y_test"], ["train_images", "train_labels", "test_images", "test_labels"]]
    {
        npz(
            &path,
            &[
                (x_test, npy(&[1, 2, 2], [9u8; 4])),
                (x_train, npy(&[3, 2, 2], 0..12u8)),
                (y_train, npy(&[3], [5u8, 0, 4])),
                (y_test, npy(&[1, 1], [7u8])),
            ],
        );
        // The file, and the folder that it lies in.
        for source in [&path, folder.path()] {
            let train = load(source);
            assert_eq!(
                (train.image_dims(), train.labels().unwrap(), train.image_u8(1)),
                ([2, 2, 1], &[5, 0, 4][..], &[4, 5, 6, 7][..])
            );
            let test = open(source.to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
            assert_eq!((test.labels().unwrap(), test.image_u8(0)), (&[7][..], &[9; 4][..]));
        }
    }
    npz(&path, &[("images", npy(&[2, 1, 1, 3], 0..6u8)), ("labels", npy(&[2], [-1i32, 2]))]);
    assert_says(&complaint(&path), &["array labels: -1; classes are numbered 0 to 65535"]);
    npz(&path, &[("images", npy(&[2, 1, 1, 3], [0.5f32; 6]))]);
    assert_says(&complaint(&path), &["array images: images of bytes are read", "save it as uint8"]);
    npz(&path, &[("images", npy(&[2, 1, 1, 3], 0..6u8)), ("labels", npy(&[2], [0.5f64, 2.0]))]);
    assert_says(&complaint(&path), &["array labels: labels are integers"]);
    npz(&path, &[("images", npy(&[2, 1, 1, 3], 0..6u8)), ("labels", npy(&[3], [1i16, 2, 3]))]);
    assert_says(&complaint(&path), &["array labels: holds [3] labels for 2 images"]);
    npz(&path, &[("images", npy(&[2, 1, 1, 3], 0..6u8)), ("labels", npy(&[2], [300i16, 2]))]);
    assert_eq!(load(&path).labels().unwrap(), [300, 2]);
}

#[test]
fn names_give_classes_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (name, shade) in [("cat_1.png", 1), ("10_1.png", 2), ("9_1.png", 3), ("deep/cat_2_b.png", 4)] {
        write_grey(folder.path().join("all").join(name), 4, shade);
    }
    let prefix = DataOptions { labels: Some("prefix".into()), ..DataOptions::default() };
    let mixed = complaint_with(&folder.path().join("all"), Split::Train, &prefix);
    assert_says(&mixed, &["both loose"]);
    fs::rename(folder.path().join("all/deep/cat_2_b.png"), folder.path().join("all/cat_2_b.png")).unwrap();
    fs::remove_dir(folder.path().join("all/deep")).unwrap();
    let set = open_train(&folder.path().join("all"), &prefix).unwrap();
    // As improved-diffusion sorts them: as texts.
    assert_eq!(set.class_names(), ["10", "9", "cat"]);
    assert_eq!((set.labels().unwrap(), [0, 1, 2, 3].map(|i| set.image_u8(i)[0])), (&[0, 1, 2, 2][..], [2, 3, 1, 4]));
    let one = DataOptions { classes: Some(vec![2]), ..prefix.clone() };
    assert_eq!(open_train(&folder.path().join("all"), &one).unwrap().len(), 2);
    // Unasked they are no classes; but where the names look like some, a note says so.
    let plain = load(&folder.path().join("all"));
    assert_eq!((plain.labels(), plain.notes().len()), (None, 0), "three classes of four images");
    write_grey(folder.path().join("all/10_2.png"), 4, 5);
    write_grey(folder.path().join("all/9_2.png"), 4, 6);
    let plain = load(&folder.path().join("all"));
    assert_eq!(plain.labels(), None);
    assert_says(&plain.notes()[0], &["begin with 3 words (10, 9, cat)", "data.labels = \"prefix\" (--labels prefix)"]);
    for name in ["img_1.png", "img_2.png", "img_3.png"] {
        write_grey(folder.path().join("numbered").join(name), 4, 1);
    }
    assert_eq!(load(&folder.path().join("numbered")).notes().len(), 0);
    write_grey(folder.path().join("all/000001.png"), 4, 1);
    assert_eq!(load(&folder.path().join("all")).notes().len(), 0, "names as those of CelebA are no classes");
    let message = complaint_with(&folder.path().join("all"), Split::Train, &prefix);
    assert_says(&message, &["000001.png: its name does not begin with a class and an underscore"]);
    let message = complaint_with(mnist(false).path(), Split::Train, &prefix);
    assert_says(&message, &["no labels called \"prefix\""]);
}

#[test]
fn sets_that_differ_have_other_fingerprints() {
    let of = |set: &TempDir| load(set.path()).fingerprint().unwrap();
    let set = || folders(&[("bus", 3), ("car", 4)]);
    let first = of(&set());
    assert_eq!(of(&set()), first);
    let other_pixel = set();
    write_grey(other_pixel.path().join("car/2.png"), 4, 77);
    for other in [other_pixel, folders(&[("bus", 4), ("car", 3)]), folders(&[("bus", 3), ("van", 4)])] {
        assert_ne!(of(&other), first);
    }
}
