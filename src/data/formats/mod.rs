//! The file formats of data sets, in a table: a new one is a file of its own and a line here.

mod cifar;
mod cifar_python;
mod emnist;
mod format;
mod idx;
mod images;
mod mat;
mod npz;
mod parquet;
mod prefix;
mod stl10;
mod svhn;
mod webdataset;

pub(super) use format::{Classes, Format, Holds, LAST_CLASS, Listing, number};
pub(super) use prefix::{PREFIX, by_prefix};

/// All formats, in the order in which they are looked for.
pub(super) const FORMATS: [&dyn Format; 11] = [
    &idx::Idx,
    // Before CIFAR's files, in which any byte may stand after the labels.
    &stl10::Stl10,
    &cifar::CIFAR_10,
    &cifar::CIFAR_100,
    &cifar_python::CIFAR_10,
    &cifar_python::CIFAR_100,
    &svhn::Svhn,
    &npz::Npz,
    &parquet::Parquet,
    &webdataset::WebDataset,
    &images::Images,
];
