//! The settings that adapt a data set to a model.

/// The changes that a data set undergoes for a model, and how much of it is held in memory. The default takes the data
/// as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOptions {
    /// Height and width of the images, in pixels. Images of another shape are first cropped around their centre.
    /// `None`: the size of the data (of the first image, for a folder; 16 for glyphs). Points have size 1.
    pub size: Option<[usize; 2]>,
    /// 1 or 3; 2 for points. Grey images become RGB by repetition. `None`: as in the data.
    pub channels: Option<usize>,
    /// Gives colour up where one channel is asked for; otherwise that is an error.
    pub to_grey: bool,
    /// The labels to read of a set that has several kinds, such as `coarse` of CIFAR-100; `prefix` takes the classes of
    /// images from their names, `CLASS_...`. `None`: the usual ones.
    pub labels: Option<String>,
    /// Keep only these classes, relabelled 0, 1, ... in this order.
    pub classes: Option<Vec<u32>>,
    /// Megabytes of pixels up to which the images of folders and parquet files are held in memory. Larger sets stay on
    /// the disk.
    pub memory_limit: usize,
    /// Images within which the order is random, where they are read in blocks from the disk.
    pub shuffle_window: usize,
}

impl Default for DataOptions {
    fn default() -> DataOptions {
        DataOptions {
            size: None,
            channels: None,
            to_grey: false,
            labels: None,
            classes: None,
            memory_limit: 4096,
            shuffle_window: 10_000,
        }
    }
}

impl DataOptions {
    /// [`DataOptions::memory_limit`] in bytes.
    pub(super) fn limit_bytes(&self) -> usize {
        self.memory_limit.saturating_mul(1_000_000)
    }
}
