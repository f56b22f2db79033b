//! State dicts of PyTorch (`torch.save`, files `.bin`, `.pt`): a zip archive with one file of numbers for each storage, and a
//! pickle that says which tensor is which part of which storage.

#[cfg(test)]
pub(crate) mod fixture;
mod state_dict;

use crate::engine::device::map_file;
use crate::{Error, Result};
use half::{bf16, f16};
use memmap2::Mmap;
use state_dict::{Storage, TensorView, state_dict};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use zip::{CompressionMethod, ZipArchive};

/// Largest pickle that is read. It holds names and shapes: about 300 bytes for each tensor.
const PICKLE_BYTES: usize = 64 << 20;
/// Advice about a pickle that is no state dict.
const WANTED: &str = "save the weights alone, by torch.save(model.state_dict(), FILE) or as safetensors";
/// First bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// A state dict that is open for reading.
pub struct TorchFile {
    path: PathBuf,
    map: Mmap,
    /// The files of the archive by name.
    entries: HashMap<String, Entry>,
    /// Before the names of all of them.
    folder: String,
    tensors: BTreeMap<String, TensorView>,
    /// Storages whose checksum is right.
    whole: Mutex<HashSet<String>>,
}

/// A file of the archive. PyTorch compresses nothing, so the size of the whole file bounds the memory.
#[derive(Clone)]
struct Entry {
    bytes: Range<usize>,
    /// 0 is none: `torch.serialization.set_crc32_options(False)` writes it everywhere.
    crc32: u32,
    is_stored: bool,
}

impl TorchFile {
    /// Checks if a file begins as one that PyTorch 1.6 or a newer one has written.
    pub fn is_one(first_bytes: &[u8]) -> bool {
        first_bytes.starts_with(ZIP)
    }

    /// Opens a file and reads which tensors it holds; their values are read later.
    ///
    /// # Errors
    /// A file that is no state dict, is damaged, or asks for the execution of code.
    pub fn open(path: &Path) -> Result<TorchFile> {
        let wrong = |reason: String| Error::format(path, reason);
        let file = File::open(path).map_err(Error::io(path))?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Err(wrong("the file is empty; a state dict of PyTorch was wanted".into()));
        }
        let map = map_file(&file).map_err(Error::io(path))?;
        let entries = entries(&map).map_err(wrong)?;
        let names: Vec<&String> = entries.keys().filter(|name| name.ends_with("/data.pkl")).collect();
        let [name] = names[..] else {
            return Err(wrong("no state dict of PyTorch: the archive holds no data.pkl".into()));
        };
        let folder = name.trim_end_matches("data.pkl").to_owned();
        let pickle = contents(&map, name, &entries[name]).map_err(wrong)?;
        if pickle.len() > PICKLE_BYTES {
            return Err(wrong(format!("{name} is larger than the {PICKLE_BYTES} bytes expected")));
        }
        if let Some(order) = entries.get(&format!("{folder}byteorder"))
            && map[order.bytes.clone()] == *b"big"
        {
            return Err(wrong("the numbers are those of a big-endian machine, which are not read".into()));
        }
        let tensors = state_dict(pickle).map_err(|reason| wrong(format!("{reason}; {WANTED}")))?.into_iter().collect();
        Ok(TorchFile { path: path.into(), map, entries, folder, tensors, whole: Mutex::default() })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// Returns the dimensions of a tensor, if it is there.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.dims[..])
    }

    /// Reads the values of a tensor of these dimensions.
    ///
    /// # Errors
    /// A tensor that is missing, has other dimensions, lies outside its storage, or a storage that is damaged.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let wrong = |reason: String| Error::format(&self.path, reason);
        let Some(tensor) = self.tensors.get(name) else {
            return Err(wrong(format!("tensor \"{name}\" {dims:?} is missing")));
        };
        if tensor.dims != dims {
            return Err(wrong(format!("tensor \"{name}\": wanted {dims:?}, found {:?}", tensor.dims)));
        }
        let Numbers { bytes, width, decode } = self.numbers(&tensor.storage).map_err(wrong)?;
        let values = tensor.gather(|at| decode(&bytes[at * width..][..width]));
        values.ok_or_else(|| wrong(format!("tensor \"{name}\" lies outside its storage")))
    }

    /// The numbers of a storage.
    fn numbers(&self, storage: &Storage) -> Result<Numbers<'_>, String> {
        let (width, decode) = decoder(&storage.kind)?;
        let name = format!("{}data/{}", self.folder, storage.key);
        let entry = self.entries.get(&name).ok_or_else(|| format!("{name} is missing"))?;
        let wanted = storage.len.checked_mul(width).ok_or("a storage is larger than memory")?;
        if entry.bytes.len() != wanted {
            return Err(format!("storage {} has {} bytes instead of {wanted}", storage.key, entry.bytes.len()));
        }
        let mut whole = self.whole.lock().expect("nobody panics with it");
        let bytes = if whole.contains(&name) {
            &self.map[entry.bytes.clone()]
        } else {
            let bytes = contents(&self.map, &name, entry)?;
            whole.insert(name);
            bytes
        };
        Ok(Numbers { bytes, width, decode })
    }
}

/// Numbers of one type.
struct Numbers<'a> {
    bytes: &'a [u8],
    width: usize,
    decode: Decode,
}

/// Makes a float of the bytes of a number.
type Decode = fn(&[u8]) -> f32;

/// The bytes of a number of a storage's type, and what makes a float of them.
fn decoder(kind: &str) -> Result<(usize, Decode), String> {
    Ok(match kind {
        "FloatStorage" => (4, |b| f32::from_le_bytes(b.try_into().expect("four bytes"))),
        "DoubleStorage" => (8, |b| f64::from_le_bytes(b.try_into().expect("eight bytes")) as f32),
        "HalfStorage" => (2, |b| f16::from_le_bytes(b.try_into().expect("two bytes")).to_f32()),
        "BFloat16Storage" => (2, |b| bf16::from_le_bytes(b.try_into().expect("two bytes")).to_f32()),
        "IntStorage" => (4, |b| i32::from_le_bytes(b.try_into().expect("four bytes")) as f32),
        "LongStorage" => (8, |b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f32),
        other => return Err(format!("tensors of type torch.{other} are not read; save them as float32 or float16")),
    })
}

/// The files of an archive, each within it.
fn entries(map: &[u8]) -> Result<HashMap<String, Entry>, String> {
    let damaged = |e: zip::result::ZipError| format!("no state dict of PyTorch 1.6 or newer (a zip archive): {e}");
    let mut archive = ZipArchive::new(Cursor::new(map)).map_err(damaged)?;
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        let start = file.data_start().unwrap_or(u64::MAX);
        let end = start.checked_add(file.compressed_size()).filter(|&end| end <= map.len() as u64);
        let bytes = start as usize..end.ok_or_else(|| format!("{name} lies outside the archive"))? as usize;
        let is_stored = file.compression() == CompressionMethod::Stored && file.size() == bytes.len() as u64;
        entries.insert(name, Entry { bytes, crc32: file.crc32(), is_stored });
    }
    Ok(entries)
}

/// The contents of a file of the archive, checked.
fn contents<'a>(map: &'a [u8], name: &str, entry: &Entry) -> Result<&'a [u8], String> {
    if !entry.is_stored {
        return Err(format!("{name} is compressed"));
    }
    let bytes = &map[entry.bytes.clone()];
    if entry.crc32 != 0 && crc32fast::hash(bytes) != entry.crc32 {
        return Err(format!("{name} is damaged: another checksum"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
