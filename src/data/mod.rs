//! Samples to learn from: where they come from, how they are brought to the model's size, and which make up a batch.
//!
//! A source is a name (`glyphs` and the sets of [`points`], drawn by the program itself) or the path of a file or
//! folder, whose format is recognised by content: MNIST's idx, the batches of CIFAR, parquet files, images in folders and
//! archives, and what `docs/formats.md` lists besides. A [`Dataset`] holds 8-bit NHWC images of one size, brought there
//! once, at load, or points of the plane; what is too large for memory it leaves on the disk. [`Dataset::fill_batch`]
//! scales images to [-1, 1], a [`Loader`] chooses the samples of each step, and [`Batches`] hands them out.

mod archive;
mod batches;
mod class_folders;
mod classes;
mod dataset;
mod decode;
mod describe;
mod division;
mod edm;
mod entries;
mod formats;
mod glyphs;
mod head;
mod loader;
mod locate;
mod members;
mod names;
mod open;
mod options;
pub mod origins;
mod permute;
pub mod picture;
mod pixels;
pub mod points;
mod resize;
mod shape;
mod shuffle;
mod split;
mod stream;
mod streamed;
mod tree;
mod windows;

pub use batches::Batches;
pub use dataset::{Dataset, Split};
pub use describe::{ChannelStatistics, Info, Known, info, list, spread};
pub use division::Division;
pub use loader::{Batch, Loader};
pub use locate::lacks_split;
pub use open::open;
pub use options::DataOptions;
pub use shuffle::{hold_out, shuffled};

#[cfg(test)]
pub(crate) mod tests;
