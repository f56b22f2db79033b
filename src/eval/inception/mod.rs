//! The features of the Fréchet inception distance (Heusel et al. 2017): the 2048 outputs of the last pooling layer of an
//! Inception-v3. The network is the one that TensorFlow distributed in December 2015,
//! with the weights and the preprocessing of pytorch-fid, so that distances are those that papers report.
//! `scripts/inception-weights.py` makes the weight file from pytorch-fid's.

mod network;
mod preprocess;

use crate::engine::device::Device;
use crate::engine::tape::{Program, Session, Tape};
use crate::engine::tensor::{DType, Store, Tensor};
use crate::eval::features::Features;
use crate::nn::tensor_file::TensorFile;
use crate::nn::{ParamSet, Weights};
use crate::{Error, Result};
use preprocess::SIZE;
use rayon::prelude::*;
use std::path::Path;

/// Number of features of an image.
pub const FEATURES: usize = 2048;

/// The network on a device, ready for batches of images. It computes in f32.
pub struct Inception {
    session: Session,
    program: Program,
    input: Tensor,    // [batch, SIZE, SIZE, 3]
    features: Tensor, // [batch, FEATURES]
    prepared: Vec<f32>,
}

impl Inception {
    /// Reads the weights and records the network for `batch` images at a time.
    ///
    /// # Errors
    /// A file that is not there or no safetensors file, and a tensor of it that is missing or has the wrong shape; a
    /// device without enough memory.
    pub fn open(weights: &Path, device: Device, batch: usize) -> Result<Inception> {
        let file = TensorFile::open(weights)?;
        Inception::new(device, batch, |name, dims| file.read(name, dims))
    }

    /// `get(name, dims)` gives the tensors of the file.
    fn new(device: Device, batch: usize, get: impl Fn(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Inception> {
        let mut params = ParamSet::default();
        let layers = network::inception_v3(&mut params);
        let flat = params.from_files(|name, dims| network::folded(name, dims, &get))?;
        let mut store = Store::new();
        let weights = Weights::reserve(&mut store, &params, DType::F32, false);
        let input = store.tensor(&[batch, SIZE, SIZE, 3], DType::F32);
        let mut session = Session::new(device, &store)?;
        weights.write(&mut session, &flat)?;
        let mut tape = Tape::new(session.backend(), DType::F32);
        let features = network::record(&mut tape, &weights, &layers, input);
        tape.keep(features);
        let program = session.load(tape)?;
        Ok(Inception { session, program, input, features, prepared: vec![0.0; input.numel()] })
    }
}

impl Features for Inception {
    fn name(&self) -> &'static str {
        "inception"
    }

    fn dims(&self) -> usize {
        FEATURES
    }

    /// Images may have any size, and three channels or one that stands for all three. They are rounded to bytes first, as
    /// if they were read from a PNG file.
    fn features(&mut self, images: &[f32], dims: [usize; 4]) -> Result<Vec<f32>> {
        let [n, h, w, c] = dims;
        if h * w == 0 || (c != 1 && c != 3) {
            let reason = format!("images {dims:?}: wanted 1 or 3 channels and at least one pixel");
            return Err(Error::Shape { op: "inception", reason });
        }
        let batch = self.input.dim(0);
        let mut features = Vec::with_capacity(n * FEATURES);
        for images in images.chunks(batch * h * w * c) {
            let each = self.prepared.par_chunks_mut(SIZE * SIZE * 3).zip(images.par_chunks_exact(h * w * c));
            each.for_each(|(out, image)| preprocess::prepare(out, image, [h, w, c]));
            self.session.write(self.input, &self.prepared)?;
            self.session.run(&mut self.program)?;
            let all = self.session.read_in(&self.program, self.features)?;
            features.extend(&all[..images.len() / (h * w * c) * FEATURES]);
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests;
