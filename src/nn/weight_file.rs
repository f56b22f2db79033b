//! A file of weights of another program: safetensors, or a state dict of PyTorch.

use super::advice;
use super::tensor_file::TensorFile;
use super::torch_file::TorchFile;
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// First byte of a pickle, and of the files that PyTorch wrote before 1.6; of a safetensors file it is a part of a length.
const PICKLE: u8 = 0x80;
/// First bytes of the header of a safetensors file, after its length.
const HEADER: (usize, u8) = (8, b'{');

/// A file of weights that is open for reading.
pub enum WeightFile {
    /// A safetensors file.
    Safetensors(TensorFile),
    /// A state dict of PyTorch.
    Torch(TorchFile),
}

impl WeightFile {
    /// Opens a file, which its content tells from the other kind.
    ///
    /// # Errors
    /// A file that is missing, damaged or of neither kind.
    pub fn open(path: &Path) -> Result<WeightFile> {
        let mut first = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        file.take(64).read_to_end(&mut first).map_err(Error::io(path))?;
        if TorchFile::is_one(&first) {
            TorchFile::open(path).map(WeightFile::Torch)
        } else if first.get(HEADER.0) == Some(&HEADER.1) {
            TensorFile::open(path).map(WeightFile::Safetensors)
        } else if first.first() == Some(&PICKLE) {
            let reason = "a pickle, or written by PyTorch before 1.6; load it there and save its state_dict() again with \
                          torch.save, or as safetensors";
            Err(Error::format(path, reason))
        } else if let Some(what) = advice::of_bytes(&first) {
            Err(Error::format(path, what))
        } else {
            TensorFile::open(path).map(WeightFile::Safetensors)
        }
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        match self {
            WeightFile::Safetensors(file) => file.names(),
            WeightFile::Torch(file) => file.names(),
        }
    }

    /// Dimensions of a tensor, if it is there.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        match self {
            WeightFile::Safetensors(file) => file.dims(name),
            WeightFile::Torch(file) => file.dims(name),
        }
    }

    /// Values of a tensor of these dimensions as f32, whatever float type they are stored in.
    ///
    /// # Errors
    /// A tensor that is missing, damaged, has other dimensions or holds no floats.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        match self {
            WeightFile::Safetensors(file) => file.read(name, dims),
            WeightFile::Torch(file) => file.read(name, dims),
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        match self {
            WeightFile::Safetensors(file) => file.path(),
            WeightFile::Torch(file) => file.path(),
        }
    }
}
