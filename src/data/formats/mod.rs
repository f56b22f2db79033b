//! The file formats of data sets, in a table: a new one is a file of its own and a line here.

mod cifar;
mod emnist;
mod format;
mod idx;
mod images;
mod npz;
mod parquet;

pub(super) use format::{Classes, Format, Head, Holds, Listing};

/// All formats, in the order in which they are looked for.
pub(super) const FORMATS: [&dyn Format; 6] =
    [&idx::Idx, &cifar::CIFAR_10, &cifar::CIFAR_100, &npz::Npz, &parquet::Parquet, &images::Images];
