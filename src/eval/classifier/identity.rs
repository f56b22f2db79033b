//! The configuration of a classifier, and everything else that its weights are a function of.

use crate::data::Dataset;
use crate::nn::ClassifierShape;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The architecture and the training of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierConfig {
    /// Channels of the first convolution; each further one has twice as many.
    pub channels: usize,
    /// Most channels of a convolution.
    pub most_channels: usize,
    /// Number of features of an image.
    pub features: usize,
    /// Passes over the training data.
    pub epochs: u64,
    /// Images of an update.
    pub batch_size: usize,
    /// Peak learning rate of Adam.
    pub learning_rate: f64,
    /// Mirror images left to right at random.
    pub flip: bool,
    /// Seed of the initial weights and of the order of the images.
    pub seed: u64,
}

impl ClassifierConfig {
    /// The settings for images of `channels` channels: for digits where they are grey, for photographs in colour.
    pub fn for_images(channels: usize) -> ClassifierConfig {
        let grey = channels == 1;
        ClassifierConfig {
            channels: if grey { 16 } else { 32 },
            most_channels: if grey { 64 } else { 128 },
            features: if grey { 64 } else { 128 },
            epochs: if grey { 2 } else { 6 },
            batch_size: 64,
            learning_rate: 3e-3,
            flip: !grey,
            seed: 0,
        }
    }

    /// The size of a network for images of these dimensions, with an embedding of the time of this size.
    pub(super) fn shape(&self, dims: [usize; 3], classes: usize, time_dim: usize) -> ClassifierShape {
        let ClassifierConfig { channels, most_channels, features, .. } = *self;
        ClassifierShape { dims, classes, channels, most_channels, features, time_dim }
    }
}

/// Everything that the weights of a classifier are a function of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub config: ClassifierConfig,
    pub image_dims: [usize; 3],
    pub class_names: Vec<String>,
    /// CRC-32C of images and labels of the training and test data.
    data: [u32; 2],
}

impl Identity {
    pub fn new(config: &ClassifierConfig, train: &Dataset, test: &Dataset) -> Result<Identity> {
        check_data(train, test)?;
        let data = [checksum(train)?, checksum(test)?];
        let (image_dims, class_names) = (train.image_dims(), train.class_names().to_vec());
        Ok(Identity { config: config.clone(), image_dims, class_names, data })
    }

    /// The name of the classifier's file.
    pub fn file_name(&self) -> String {
        let text = serde_json::to_string(self).expect("plain data");
        format!("classifier-{:08x}.safetensors", crc32c::crc32c(text.as_bytes()))
    }

    /// The size of the network.
    pub fn shape(&self) -> ClassifierShape {
        self.config.shape(self.image_dims, self.class_names.len(), 0)
    }
}

/// Refuses data that no classifier can learn from.
///
/// # Errors
/// No labels, fewer than two classes, or test data of other classes.
pub(super) fn check_data(train: &Dataset, test: &Dataset) -> Result<()> {
    let (name, class_names) = (train.name(), train.class_names());
    if class_names.len() < 2 {
        return Err(Error::Config(match train.labels() {
            None => format!("{name} has no labels, so no classifier can be trained on it"),
            Some(_) => format!("{name} has one class only, so there is nothing to classify"),
        }));
    }
    if test.image_dims() != train.image_dims() || test.class_names() != class_names {
        return Err(Error::Config(format!("{name}: the test split has other classes than the training split")));
    }
    Ok(())
}

/// CRC-32C of images and labels.
fn checksum(dataset: &Dataset) -> Result<u32> {
    /// Images that are read together.
    const TOGETHER: usize = 4096;
    let mut sum = 0;
    for first in (0..dataset.len()).step_by(TOGETHER) {
        let indices: Vec<usize> = (first..dataset.len().min(first + TOGETHER)).collect();
        sum = crc32c::crc32c_append(sum, &dataset.images_u8(&indices)?);
    }
    Ok(crc32c::crc32c_append(sum, bytemuck::cast_slice(dataset.labels().unwrap_or_default())))
}
