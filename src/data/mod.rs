//! Samples to learn from: where they come from, how they are brought to the model's size, and which make up a batch.
//!
//! A source is a name (`glyphs` and the sets of [`points`], drawn by the program itself) or the path of a file or
//! folder, whose format is recognised by content: MNIST's idx, CIFAR-10's binary batches, PNG and JPEG images. A
//! [`Dataset`] holds 8-bit NHWC images of one size, brought there once, at load, or points of the plane;
//! [`Dataset::fill_batch`] scales images to [-1, 1], and a [`Loader`] says which samples a step sees.

mod cifar;
mod dataset;
mod describe;
mod folder;
mod glyphs;
mod idx;
mod loader;
mod locate;
pub mod points;
mod resize;

use std::path::Path;

pub use dataset::{Dataset, Split};
pub use describe::{ChannelStatistics, Info, Known, info, list, spread};
pub use loader::{Batch, Loader};

use crate::{Error, Result};
use dataset::ClassFilter;
use locate::Found;
use points::PointSet;

/// How a data set is adapted to a model. The default takes the data as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// Height and width of the images, in pixels. Images of another shape are first cropped around their centre.
    /// `None`: the size of the data (of the first image, for a folder; 16 for glyphs). Points have size 1.
    pub size: Option<[usize; 2]>,
    /// 1 or 3; 2 for points. Grey images become RGB by repetition. `None`: as in the data.
    pub channels: Option<usize>,
    /// Whether colour may be given up when one channel is asked for.
    pub to_grey: bool,
    /// Keep only these classes, relabelled 0, 1, ... in this order.
    pub classes: Option<Vec<u32>>,
}

/// Opens a split of `source`: the name of a set that the program draws, or the path of a file or folder.
///
/// # Errors
/// One line that names the file and what is wrong with it, or the option that does not fit the data.
pub fn open(source: &str, split: Split, options: &DataOptions) -> Result<Dataset> {
    if let Some(set) = PointSet::from_name(source) {
        return points::dataset(set, split, options);
    }
    if options.size.is_some_and(|size| size.contains(&0)) {
        return Err(Error::Config("the image size must be at least 1 pixel".into()));
    }
    if let Some(channels) = options.channels
        && channels != 1
        && channels != 3
    {
        return Err(Error::Config(format!("images have 1 channel (grey) or 3 (RGB), not {channels}")));
    }
    let filter = options.classes.as_deref().map(ClassFilter::new).transpose()?;
    let select = |dataset: Dataset| match &filter {
        Some(filter) => dataset.select(filter),
        None => Ok(dataset),
    };

    let path = Path::new(source);
    let native = if source == "glyphs" {
        select(glyphs::dataset(split, options.size.unwrap_or([glyphs::DEFAULT_SIZE; 2])))?
    } else if !path.exists() {
        return Err(Error::Config(format!(
            "no data set \"{source}\": it is neither glyphs, {} nor a file or folder here",
            PointSet::ALL.map(PointSet::name).join(", ")
        )));
    } else {
        match locate::locate(path, split)? {
            Found::Idx { images, labels } => select(idx::read(path, &images, labels.as_deref())?)?,
            Found::Cifar { batches } => select(cifar::read(path, &batches)?)?,
            Found::Images(listing) => {
                let listing = match &filter {
                    Some(filter) => listing.select(path, filter)?,
                    None => listing,
                };
                folder::read(path, listing, options)?
            }
        }
    };
    native.resize(options.size)?.with_channels(options.channels, options.to_grey)
}

#[cfg(test)]
mod tests;
