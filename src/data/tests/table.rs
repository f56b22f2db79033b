//! The table of data sets in `docs/formats.md`: each row is tried with a small file or folder.

use super::archives::{grey, tar_of, zip_of};
use super::layouts::{npy, npz};
use super::rows::{Folder, walk};
use super::torchvision::{batch, svhn};
use super::*;
use zip::write::SimpleFileOptions;

impl Folder<'_> {
    fn zip<B: AsRef<[u8]>>(&self, files: &[(&'static str, B)]) -> &'static str {
        self.write("set.zip", zip_of(files, SimpleFileOptions::default()))
    }

    /// Writes a zip archive of an image whose header and directory say something else than is so: bytes are changed at
    /// these places, which are two further on in the directory.
    fn odd_zip(&self, at: usize, change: fn(u8) -> u8) -> &'static str {
        let mut bytes = zip_of(&[("a/0.png", grey(4, 1))], SimpleFileOptions::default());
        let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        [at, directory + at + 2].iter().for_each(|&at| bytes[at] = change(bytes[at]));
        self.write("set.zip", bytes)
    }

    fn arrays(&self, arrays: &[(&str, Vec<u8>)]) -> &'static str {
        npz(&self.0.join("set.npz"), arrays);
        "set.npz"
    }
}

type Write = fn(&Folder) -> &'static str;

/// The name of a row, the kind of labels to ask for, and what writes its input and returns the path to open.
const INPUTS: [(&str, Option<&str>, Write); 40] = [
    ("idx of MNIST", None, |to| to.write_all(&[("train-images-idx3-ubyte.gz", gzip(&idx_images(3)))])),
    ("torchvision's root of MNIST and its kin", None, |to| {
        to.write_all(&[("MNIST/raw/train-images-idx3-ubyte", idx_images(3))])
    }),
    ("CIFAR-10 binary", None, |to| to.write_all(&[("data_batch_1.bin", cifar_record(3))])),
    ("CIFAR-100 binary", Some("coarse"), |to| to.write_all(&[("train.bin", [&[7], &cifar_record(60)[..]].concat())])),
    ("torchvision's cifar-10-batches-py", None, |to| {
        to.write_all(&[("cifar-10-batches-py/data_batch_1", batch(&[("labels", &[3])]))])
    }),
    ("torchvision's cifar-100-python", Some("coarse"), |to| {
        to.write_all(&[("cifar-100-python/train", batch(&[("fine_labels", &[99]), ("coarse_labels", &[7])]))])
    }),
    ("SVHN", None, |to| to.write_all(&[("train_32x32.mat", svhn(&[1, 10], true))])),
    ("STL-10 binary", None, |to| to.write_all(&[("train_X.bin", vec![7; 3 * 96 * 96]), ("train_y.bin", vec![10])])),
    ("images in class folders", None, |to| to.write_all(&[("a/0.png", grey(4, 1)), ("b/0.png", grey(4, 2))])),
    ("images in a flat folder", None, |to| to.write_all(&[("0.png", grey(4, 1))])),
    ("images named CLASS_...", Some("prefix"), |to| to.write_all(&[("cat_0.png", grey(4, 1))])),
    ("folders train and test around any of these", None, |to| {
        to.write_all(&[
            ("train/train-images-idx3-ubyte", idx_images(3)),
            ("test/t10k-images-idx3-ubyte", idx_images(2)),
        ])
    }),
    (".zip of class folders", None, |to| to.zip(&class_folders())),
    (".tar of class folders", None, |to| to.write("set.tar", tar_of(&class_folders()))),
    (".tar.gz of class folders", None, |to| to.write("set.tar.gz", gzip(&tar_of(&class_folders())))),
    ("EDM's and StyleGAN's .zip with dataset.json", None, |to| to.zip(&edm())),
    ("folder with dataset.json", None, |to| to.write_all(&edm())),
    ("WebDataset shards", None, |to| to.write_all(&[("x-000000.tar", shard())])),
    ("WebDataset shards in gzip", None, |to| to.write_all(&[("x-000000.tar.gz", gzip(&shard()))])),
    ("parquet of Hugging Face's datasets", None, |to| {
        to.write("set.parquet", parquet_file::write(&[(Some(&grey(4, 1)), None, 1)], 1, None))
    }),
    ("parquet without the images' bytes", None, |to| {
        to.write("set.parquet", parquet_file::write(&[(None, Some("/data/0.png"), 1)], 1, None))
    }),
    (".npz of improved-diffusion", None, |to| to.arrays(&[("arr_0", images()), ("arr_1", labels())])),
    (".npz with images", None, |to| to.arrays(&[("images", images()), ("labels", labels())])),
    (".npz of Keras", None, |to| to.arrays(&[("x_train", images()), ("y_train", labels())])),
    (".npz of MedMNIST", None, |to| to.arrays(&[("train_images", images()), ("train_labels", labels())])),
    (".npz of images that are no bytes", None, |to| to.arrays(&[("arr_0", npy(&[1, 2, 2, 1], [0.5f32; 4]))])),
    (".npy", None, |to| to.write("set.npy", images())),
    (".zip with encrypted entries", None, |to| to.odd_zip(6, |flags| flags | 1)),
    (".zip packed by Zstandard", None, |to| to.odd_zip(8, |_| 93)),
    (".zip or .tar of other data than images", None, |to| to.zip(&[("data_batch_1.bin", cifar_record(3))])),
    (".tar.xz", None, |to| to.write("set.tar.xz", b"\xfd7zXZ\0\0")),
    (".tar.bz2", None, |to| to.write("set.tar.bz2", b"BZh91AY")),
    (".tar.zst", None, |to| to.write("set.tar.zst", b"\x28\xb5\x2f\xfd\0")),
    (".7z", None, |to| to.write("set.7z", b"7z\xbc\xaf\x27\x1c\0\x04")),
    (".rar", None, |to| to.write_all(&[("set.rar", b"Rar!\x1a\x07\x01\0")])),
    ("several data sets below one root", None, |to| {
        let set = |name| (name, idx_images(3));
        to.write_all(&["MNIST/raw/train-images-idx3-ubyte", "KMNIST/raw/train-images-idx3-ubyte"].map(set))
    }),
    ("Python pickles of anything else", None, |to| to.write("weights", b"\x80\x02}q\x01.")),
    ("MATLAB 7.3", None, |to| to.write("set.mat", b"MATLAB 7.3 MAT-file, Platform: GLNXA64")),
    ("HDF5", None, |to| to.write_all(&[("set.h5", b"\x89HDF\r\n\x1a\n\0")])),
    ("LMDB", None, |to| to.write_all(&[("data.mdb", b"\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\0\0\xde\xc0\xef\xbe\x01\0\0\0")])),
];

fn images() -> Vec<u8> {
    npy(&[2, 2, 2], 0..8u8)
}

fn labels() -> Vec<u8> {
    npy(&[2], [1i64, 0])
}

fn class_folders() -> [(&'static str, Vec<u8>); 3] {
    [("train/a/0.png", grey(4, 1)), ("train/b/0.png", grey(4, 2)), ("test/a/0.png", grey(4, 3))]
}

fn edm() -> [(&'static str, Vec<u8>); 2] {
    [("00000/0.png", grey(4, 1)), ("dataset.json", br#"{"labels": [["00000/0.png", 1]]}"#.to_vec())]
}

fn shard() -> Vec<u8> {
    tar_of(&[("0.png", grey(4, 1)), ("0.cls", b"1".to_vec())])
}

#[test]
fn every_row_of_the_table_is_tried() {
    walk("Data sets", &INPUTS.map(|(name, ..)| name), |at, _| {
        let (_, labels, write) = INPUTS[at];
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join(write(&Folder(folder.path())));
        let opened = open_train(&source, &DataOptions { labels: labels.map(String::from), ..DataOptions::default() });
        opened.map(|dataset| assert!(dataset.len() > 0)).map_err(|e| e.to_string())
    });
}
