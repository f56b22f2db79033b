//! The settings that adapt a data set to a model.

/// The changes that a data set undergoes for a model. The default takes the data as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// Side of the square images, in pixels. Larger images are first cropped to a centred square.
    /// `None`: the size of the data (of the first image, for a folder; 16 for glyphs). Points have size 1.
    pub size: Option<usize>,
    /// 1 or 3; 2 for points. Grey images become RGB by repetition. `None`: as in the data.
    pub channels: Option<usize>,
    /// Gives colour up where one channel is asked for; otherwise that is an error.
    pub to_grey: bool,
    /// The labels to read of a set that has several kinds, such as `coarse` of CIFAR-100. `None`: the usual ones.
    pub labels: Option<String>,
    /// Keep only these classes, relabelled 0, 1, ... in this order.
    pub classes: Option<Vec<u32>>,
}
