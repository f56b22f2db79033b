//! Safetensors files, read and written as tensors by name. An error is one line that names the file, the tensor and what
//! was expected of it.

use crate::engine::device::map_file;
use crate::{Error, Result};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorInfo};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A tensor by name: dimensions and values.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// A safetensors file that is open for reading.
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    header_bytes: usize,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file and checks that it is whole.
    ///
    /// # Errors
    /// A file that is missing, truncated or no safetensors file.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let file = File::open(path).map_err(Error::io(path))?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Err(Error::format(path, "the file is empty; a safetensors file was wanted"));
        }
        let map = map_file(&file).map_err(Error::io(path))?;
        SafeTensors::deserialize(&map).map_err(|e| damaged(path, &e))?;
        let (header_bytes, metadata) = SafeTensors::read_metadata(&map).map_err(|e| damaged(path, &e))?;
        Ok(TensorFile { path: path.into(), map, header_bytes: header_bytes + 8, metadata })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort_unstable();
        names
    }

    /// Dimensions of a tensor, if it is there.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| &info.shape[..])
    }

    /// Values of a tensor of these dimensions as f32, whatever float type they are stored in.
    ///
    /// # Errors
    /// A tensor that is missing, has other dimensions or holds no floats.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let Some(info) = self.metadata.info(name) else {
            return Err(Error::format(&self.path, format!("tensor \"{name}\" {dims:?} is missing")));
        };
        if info.shape != dims {
            return Err(Error::format(
                &self.path,
                format!("tensor \"{name}\": wanted {dims:?}, found {:?}", info.shape),
            ));
        }
        let bytes = &self.map[self.header_bytes..][info.data_offsets.0..info.data_offsets.1];
        let floats = |width: usize, float: fn(&[u8]) -> f32| Ok(bytes.chunks_exact(width).map(float).collect());
        match info.dtype {
            Dtype::F32 => floats(4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::F64 => floats(8, |b| f64::from_le_bytes(b.try_into().expect("chunks of 8")) as f32),
            Dtype::F16 => floats(2, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            Dtype::BF16 => floats(2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            Dtype::I32 => floats(4, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32),
            Dtype::I64 => floats(8, |b| i64::from_le_bytes(b.try_into().expect("chunks of 8")) as f32),
            other => {
                let reason =
                    format!("tensor \"{name}\": wanted floats, found {other:?}; save it as float32 or float16");
                Err(Error::format(&self.path, reason))
            }
        }
    }
}

fn damaged(path: &Path, error: &SafeTensorError) -> Error {
    let reason = match error {
        SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => "truncated".into(),
        SafeTensorError::HeaderTooSmall | SafeTensorError::HeaderTooLarge => "no safetensors file, or truncated".into(),
        other => format!("no safetensors file, or damaged: {other}"),
    };
    Error::format(path, reason)
}

/// Writes a safetensors file with one metadata entry, tensor by tensor. The bytes are those of [`safetensors::serialize`]
/// and depend on nothing but the arguments.
///
/// # Errors
/// When it cannot be written, e.g. to a full disk.
///
/// # Panics
/// If a tensor has more or fewer values than its dimensions say, or two have the same name.
pub fn write(out: &mut impl Write, tensors: &[NamedTensor], (key, value): (&str, &str)) -> io::Result<()> {
    let mut tensors: Vec<&NamedTensor> = tensors.iter().collect();
    tensors.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut end = 0;
    let info = |(name, dims, values): &&NamedTensor| {
        let start = end;
        end += size_of_val(&values[..]);
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: dims.clone(), data_offsets: (start, end) })
    };
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    let header = Metadata::new(Some(metadata), tensors.iter().map(info).collect());
    let mut header = serde_json::to_vec(&header.expect("tensors are what their dimensions say"))?;
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|(_, _, values)| out.write_all(bytemuck::cast_slice(values)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn the_bytes_are_those_of_the_safetensors_crate() {
        let tensors = vec![("b".to_owned(), vec![1], vec![-2.5]), ("a".to_owned(), vec![2, 3], vec![1.0; 6])];
        let mut bytes = Vec::new();
        write(&mut bytes, &tensors, ("key", "value")).unwrap();
        let views = tensors.iter().map(|(name, dims, values)| {
            (name, TensorView::new(Dtype::F32, dims.clone(), bytemuck::cast_slice(values)).unwrap())
        });
        let metadata = HashMap::from([("key".to_owned(), "value".to_owned())]);
        assert_eq!(bytes, safetensors::serialize(views, Some(metadata)).unwrap());
    }

    #[test]
    fn damaged_files_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensors = vec![("a".to_owned(), vec![2, 3], vec![1.0; 6]), ("b".to_owned(), vec![1], vec![-2.5])];
        write(&mut File::create(&path).unwrap(), &tensors, ("key", "value")).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.read("b", &[1]).unwrap(), [-2.5]);
        assert_eq!((file.metadata("key"), file.names()), (Some("value"), vec!["a".into(), "b".into()]));
        let refused = |e: Error| {
            let line = e.to_string();
            assert!(line.contains("x.safetensors") && !line.contains('\n'), "{line}");
            line
        };
        assert!(refused(file.read("c", &[1]).unwrap_err()).contains("\"c\" [1] is missing"));
        assert!(refused(file.read("a", &[6]).unwrap_err()).contains("wanted [6], found [2, 3]"));

        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            refused(TensorFile::open(&path).err().expect("a truncated file is refused"));
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        refused(TensorFile::open(&path).err().expect("a file with a tail is refused"));
    }
}
