//! The interface between the program and its networks: what a configuration must answer, and what it builds.

use super::layers::Forward;
use super::params::ParamSet;
use crate::engine::tensor::Tensor;
use crate::{Error, Result};
use std::fmt::Debug;

/// The kind of samples that a network processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Images whose height and width are multiples of a number.
    Images {
        /// The number of which height and width are multiples.
        multiple_of: usize,
    },
    /// Points: one pixel, whose channels are the coordinates.
    Points,
}

impl Samples {
    /// Checks that samples of this height and width can be processed.
    ///
    /// # Errors
    /// The sizes that are possible.
    pub fn check_size(self, height: usize, width: usize) -> Result<()> {
        match self {
            Samples::Points if [height, width] == [1, 1] => Ok(()),
            Samples::Points => Err(Error::Config(format!("{height}x{width}: points are 1x1"))),
            Samples::Images { multiple_of } => {
                if [height, width].iter().all(|&size| size > 0 && size % multiple_of == 0) {
                    return Ok(());
                }
                let message = format!("{height}x{width}: height and width must be multiples of {multiple_of}");
                Err(Error::Config(message))
            }
        }
    }
}

/// The settings of one kind of network.
pub trait Architecture {
    /// The kind of samples.
    fn samples(&self) -> Samples;

    /// Height, width and channels of one noisy sample.
    fn sample_dims(&self) -> [usize; 3];

    /// Channels of the output.
    fn out_channels(&self) -> usize;

    /// Number of classes to condition on; 0 is an unconditional model.
    fn classes(&self) -> usize;

    /// True if labels include one for "no class" besides those of the classes, as guidance needs it.
    fn has_null_class(&self) -> bool {
        self.classes() > 0
    }

    /// Rows of the table of classes.
    fn class_rows(&self) -> usize {
        self.classes() + usize::from(self.has_null_class())
    }

    /// Checks that such a network exists.
    ///
    /// # Errors
    /// The first setting that is impossible, by its name.
    fn validate(&self) -> Result<()>;

    /// Builds the network and registers its parameters.
    ///
    /// # Errors
    /// An impossible setting, as [`Architecture::validate`] reports it.
    fn build(&self, params: &mut ParamSet) -> Result<Box<dyn Module>>;
}

/// A network whose parameters are registered.
pub trait Module: Debug + Send + Sync {
    /// Records one evaluation.
    ///
    /// # Shapes
    /// `x [n, h, w, c]` in the tape's storage type, of a size that [`Samples::check_size`] accepts; `time [n]` f32, the
    /// conditioning time (diffusers and the DDPM paper: 0..T-1); `labels [n]` i32 below [`Architecture::class_rows`], where
    /// `classes` is the null label, exactly where the model is conditional. The result is `[n, h, w, out_channels]`.
    fn forward(&self, cx: &mut Forward, x: Tensor, time: Tensor, labels: Option<Tensor>) -> Tensor;
}
