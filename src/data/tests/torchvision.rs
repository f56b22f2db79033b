//! The folders that torchvision's data sets leave below their root.

use super::archives::tar_of;
use super::*;

/// Bytes of an image of CIFAR.
const PIXELS: usize = 3072;

/// A batch as Python 2 pickled it, with planes of the shades 1, 2, 3 for every image.
pub(super) fn batch(keys: &[(&str, &[u8])]) -> Vec<u8> {
    let n = keys[0].1.len() as u32;
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let mut bytes = b"\x80\x02}q\x01(".to_vec();
    bytes.extend(text("data"));
    bytes.extend(b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01J");
    bytes.extend(n.to_le_bytes());
    bytes.extend(b"M\x00\x0c\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((n * PIXELS as u32).to_le_bytes());
    (0..n).for_each(|i| [1, 2, 3].iter().for_each(|shade| bytes.extend([10 * i as u8 + shade; PIXELS / 3])));
    bytes.extend(b"tb");
    for (key, labels) in keys {
        bytes.extend(text(key));
        bytes.extend(b"](");
        labels.iter().for_each(|label| bytes.extend([b'K', *label]));
        bytes.push(b'e');
    }
    bytes.extend(b"u.");
    bytes
}

#[test]
fn torchvision_s_batches_are_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cifar-10-batches-py");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("data_batch_1", &batch(&[("labels", &[3, 9])]));
    write("data_batch_2", &batch(&[("labels", &[0])]));
    write("test_batch", &batch(&[("labels", &[5])]));
    let names = (0..10).flat_map(|i| [b'U', 2, b'c', b'0' + i]).collect::<Vec<u8>>();
    write("batches.meta", &[b"\x80\x02}U\x0blabel_names](", &names[..], b"es."].concat());
    // The download lies beside what was unpacked from it.
    let download = gzip(&tar_of(&[("cifar-10-batches-py/test_batch", batch(&[("labels", &[5])]))]));
    fs::write(root.path().join("cifar-10-python.tar.gz"), download).unwrap();

    let source = root.path().to_str().unwrap();
    let train = open(source, Split::Train, &DataOptions::default()).unwrap();
    assert_eq!((train.labels().unwrap(), train.class_names()[9].as_str()), (&[3, 9, 0][..], "c9"));
    assert_eq!((train.format(), &train.image_u8(1)[..6]), ("CIFAR-10 Python", &[11, 12, 13, 11, 12, 13][..]));
    assert_eq!(open(source, Split::Test, &DataOptions::default()).unwrap().labels().unwrap(), [5]);

    let complaint = || open(source, Split::Train, &DataOptions::default()).unwrap_err().to_string();
    for (labels, says) in [(&[3, 10][..], "entry 1 is no class from 0 to 9"), (&[3, 9], "data_batch_2")] {
        write("data_batch_1", &batch(&[("labels", labels)]));
        write("data_batch_2", &batch(&[("labels", &[0])])[..2000]);
        assert!(complaint().contains(says), "{}", complaint());
    }
}

#[test]
fn cifar_100_has_two_kinds_of_labels() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train"), batch(&[("fine_labels", &[99, 1]), ("coarse_labels", &[19, 4])])).unwrap();
    fs::write(folder.path().join("test"), batch(&[("fine_labels", &[7]), ("coarse_labels", &[2])])).unwrap();
    let load = |split, kind: Option<&str>| {
        let options = DataOptions { labels: kind.map(String::from), ..DataOptions::default() };
        open(folder.path().to_str().unwrap(), split, &options).map(|set| set.labels().unwrap().to_vec())
    };
    assert_eq!(load(Split::Train, None).unwrap(), [99, 1]);
    assert_eq!(load(Split::Train, Some("coarse")).unwrap(), [19, 4]);
    assert_eq!(load(Split::Test, Some("fine")).unwrap(), [7]);
    assert!(load(Split::Test, Some("classes")).unwrap_err().to_string().contains("it has fine and coarse"));
}

/// An element of a MATLAB file: type, length, bytes, zeros up to a multiple of eight.
fn element(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let mut element = [kind.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
    element.extend(bytes);
    element.resize(element.len().next_multiple_of(8), 0);
    element
}

/// A matrix of bytes, plain or compressed as MATLAB saves it.
fn matrix(name: &str, dims: &[i32], bytes: &[u8], compress: bool) -> Vec<u8> {
    // The name of one letter stands in the tag itself.
    let name = [&[1, 0, 1, 0], name.as_bytes(), &[0; 3]].concat();
    let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    let parts = [element(6, &[9, 0, 0, 0, 0, 0, 0, 0]), element(5, &dims), name, element(2, bytes)];
    let whole = element(14, &parts.concat());
    if !compress {
        return whole;
    }
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&whole).unwrap();
    let bytes = encoder.finish().unwrap();
    [&15u32.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), &bytes].concat()
}

/// A file of SVHN with images of 2x3 pixels whose bytes count on in the order of MATLAB: down, right, colour, image.
pub(super) fn svhn(labels: &[u8], compress: bool) -> Vec<u8> {
    let n = labels.len();
    let mut file = format!("{:124}", "MATLAB 5.0 MAT-file, Platform: GLNXA64").into_bytes();
    file.extend([0, 1, b'I', b'M']);
    file.extend(matrix("X", &[2, 3, 3, n as i32], &(0..18 * n).map(|i| i as u8).collect::<Vec<_>>(), compress));
    file.extend(matrix("y", &[n as i32, 1], labels, compress));
    file
}

#[test]
fn svhn_is_read_and_its_tens_are_zeros() {
    for compress in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train_32x32.mat");
        fs::write(&path, svhn(&[1, 10, 9], compress)).unwrap();
        fs::write(folder.path().join("test_32x32.mat"), svhn(&[2], compress)).unwrap();
        let train = load(folder.path());
        assert_eq!((train.len(), train.image_dims(), train.labels().unwrap()), (3, [2, 3, 3], &[1, 0, 9][..]));
        assert_eq!(train.image_u8(0), [0, 6, 12, 2, 8, 14, 4, 10, 16, 1, 7, 13, 3, 9, 15, 5, 11, 17]);
        assert_eq!(train.image_u8(2)[..3], [36, 42, 48]);
        let test = open(folder.path().to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap();
        assert_eq!(test.labels().unwrap(), [2]);

        fs::write(&path, svhn(&[1, 11], compress)).unwrap();
        assert_says(&complaint(&path), &["array y: label 1 is none of the digits, which are 1 to 9, and 10 for 0"]);
        let whole = svhn(&[1, 10, 9], compress);
        for length in (150..whole.len() - 8).step_by(9) {
            fs::write(&path, &whole[..length]).unwrap();
            assert_says(&complaint(folder.path()), &["train_32x32.mat", ": "]);
        }
    }
}

#[test]
fn stl_10_stands_on_its_side() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    // The second pixel of the first column is the first of the second row.
    let image: Vec<u8> =
        (0..3u8).flat_map(|plane| (0..96 * 96).map(move |i| if i == 1 { 100 + plane } else { plane })).collect();
    write("train_X.bin", &image.repeat(2));
    write("train_y.bin", &[10, 1]);
    write("test_X.bin", &image);
    write("test_y.bin", &[3]);
    write("class_names.txt", b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n");
    let train = load(folder.path());
    assert_eq!((train.len(), train.labels().unwrap(), train.class_names()[9].as_str()), (2, &[9, 0][..], "truck"));
    assert_eq!(
        (&train.image_u8(1)[..6], &train.image_u8(1)[3 * 96..][..3]),
        (&[0, 1, 2, 0, 1, 2][..], &[100, 101, 102][..])
    );
    assert_eq!(
        open(folder.path().to_str().unwrap(), Split::Test, &DataOptions::default()).unwrap().labels().unwrap(),
        [2]
    );
    write("train_y.bin", &[10]);
    assert_says(&complaint(folder.path()), &["train_y.bin", "holds 1 labels, but there are 2 images"]);
    write("train_X.bin", &image[1..]);
    assert_says(&complaint(folder.path()), &["train_X.bin", "truncated: 27647 bytes"]);
}

#[test]
fn a_root_of_several_sets_names_them() {
    let root = tempfile::tempdir().unwrap();
    for set in ["MNIST", "FashionMNIST"] {
        fs::create_dir_all(root.path().join(set)).unwrap();
        fs::rename(mnist(false).keep(), root.path().join(set).join("raw")).unwrap();
    }
    assert_eq!(load(&root.path().join("FashionMNIST")).len(), 7);
    assert_says(
        &complaint(root.path()),
        &["holds data sets in sub-folders (FashionMNIST, MNIST): give the path of one"],
    );
}
