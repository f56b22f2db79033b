//! State dicts of PyTorch (`torch.save`, files `.bin`, `.pt`): a zip archive with one file of numbers for each storage, and a
//! pickle that says which tensor is which part of which storage.
//!
//! A pickle is a program for a stack machine. This reader executes no code: it knows the few instructions and the three
//! constructors that a state dict needs and refuses all others by name.

use crate::{Error, Result};
use half::{bf16, f16};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use zip::{CompressionMethod, ZipArchive};

/// Largest pickle that is read. It holds names and shapes: about 300 bytes for each tensor.
const PICKLE_BYTES: u64 = 64 << 20;

/// The tensors of a state dict.
pub struct TorchFile {
    path: PathBuf,
    storages: HashMap<Storage, Vec<f32>>,
    tensors: BTreeMap<String, TensorView>,
}

impl TorchFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that is no state dict, is damaged, or asks for the execution of code.
    pub fn open(path: &Path) -> Result<TorchFile> {
        let wrong = |reason: String| Error::format(path, reason);
        let file = File::open(path).map_err(Error::io(path))?;
        let mut archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| wrong(format!("no state dict of PyTorch 1.6 or newer (a zip archive): {e}")))?;
        let name =
            archive.file_names().flatten().find(|name| name.ends_with("/data.pkl")).map(|name| name.into_owned());
        let name = name.ok_or_else(|| wrong("no state dict of PyTorch: the archive holds no data.pkl".into()))?;
        let pickle = read_entry(&mut archive, &name, PICKLE_BYTES).map_err(wrong)?;
        let tensors: BTreeMap<String, TensorView> = state_dict(&pickle).map_err(wrong)?.into_iter().collect();
        let (mut storages, folder) = (HashMap::new(), name.trim_end_matches("data.pkl"));
        for TensorView { storage, .. } in tensors.values() {
            if let Entry::Vacant(place) = storages.entry(storage.clone()) {
                place.insert(read_storage(&mut archive, folder, storage).map_err(wrong)?);
            }
        }
        Ok(TorchFile { path: path.into(), storages, tensors })
    }

    /// Returns the dimensions of a tensor, if it is there.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.dims[..])
    }

    /// Reads the values of a tensor of these dimensions.
    ///
    /// # Errors
    /// A tensor that is missing, has other dimensions or lies outside its storage.
    pub fn read(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let wrong = |reason: String| Error::format(&self.path, reason);
        let Some(tensor) = self.tensors.get(name) else {
            return Err(wrong(format!("tensor \"{name}\" {dims:?} is missing")));
        };
        if tensor.dims != dims {
            return Err(wrong(format!("tensor \"{name}\": wanted {dims:?}, found {:?}", tensor.dims)));
        }
        tensor
            .gather(&self.storages[&tensor.storage])
            .ok_or_else(|| wrong(format!("tensor \"{name}\" lies outside its storage")))
    }
}

type Archive = ZipArchive<BufReader<File>>;

/// Reads an entry of at most `limit` bytes.
fn read_entry(archive: &mut Archive, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    if bytes.len() as u64 > limit {
        Err(format!("{name} is larger than the {limit} bytes expected"))
    } else {
        Ok(bytes)
    }
}

/// The numbers of one storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Storage {
    key: String,
    /// Type in the pickle, such as `FloatStorage`.
    kind: String,
    len: usize,
}

fn read_storage(archive: &mut Archive, folder: &str, storage: &Storage) -> Result<Vec<f32>, String> {
    let (width, decode): (usize, fn(&[u8]) -> f32) = match storage.kind.as_str() {
        "FloatStorage" => (4, |b| f32::from_le_bytes(b.try_into().expect("four bytes"))),
        "DoubleStorage" => (8, |b| f64::from_le_bytes(b.try_into().expect("eight bytes")) as f32),
        "HalfStorage" => (2, |b| f16::from_le_bytes(b.try_into().expect("two bytes")).to_f32()),
        "BFloat16Storage" => (2, |b| bf16::from_le_bytes(b.try_into().expect("two bytes")).to_f32()),
        "IntStorage" => (4, |b| i32::from_le_bytes(b.try_into().expect("four bytes")) as f32),
        "LongStorage" => (8, |b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f32),
        other => return Err(format!("tensors of type torch.{other} are not read")),
    };
    let limit = storage.len.checked_mul(width).ok_or("a storage is larger than memory")?;
    let name = format!("{folder}data/{}", storage.key);
    // PyTorch compresses nothing, so the size of the file bounds the memory.
    if archive.by_name(&name).map_err(|e| format!("{name}: {e}"))?.compression() != CompressionMethod::Stored {
        return Err(format!("{name} is compressed"));
    }
    let bytes = read_entry(archive, &name, limit as u64)?;
    if bytes.len() != limit {
        return Err(format!("storage {} has {} bytes instead of {limit}", storage.key, bytes.len()));
    }
    Ok(bytes.chunks_exact(width).map(decode).collect())
}

/// A view of a storage.
#[derive(Clone, Debug)]
struct TensorView {
    storage: Storage,
    offset: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl TensorView {
    /// The values in row-major order; nothing if they lie outside the storage.
    fn gather(&self, numbers: &[f32]) -> Option<Vec<f32>> {
        let numel = self.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        if numel > numbers.len() {
            return None;
        }
        let mut index = vec![0; self.dims.len()];
        let mut values = Vec::with_capacity(numel);
        for _ in 0..numel {
            let mut steps = index.iter().zip(&self.strides);
            let at = steps.try_fold(self.offset, |at, (i, stride)| at.checked_add(usize::checked_mul(*i, *stride)?))?;
            values.push(*numbers.get(at)?);
            for (i, dim) in index.iter_mut().zip(&self.dims).rev() {
                *i += 1;
                if *i < *dim {
                    break;
                }
                *i = 0;
            }
        }
        Some(values)
    }
}

/// An object of the pickle. Objects refer to others by their place in a list, so no depth of nesting costs stack.
#[derive(Debug)]
enum Object {
    /// Read and not needed.
    Other,
    Int(i64),
    Text(String),
    Global(String),
    Tuple(Vec<usize>),
    Dict(Vec<[usize; 2]>),
    Storage(Storage),
    Tensor(TensorView),
}

/// The stack machine.
struct Machine<'a> {
    /// The instructions that are left.
    code: &'a [u8],
    objects: Vec<Object>,
    stack: Vec<usize>,
    /// Heights of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

/// Reads the tensors of a pickled state dict by name.
fn state_dict(pickle: &[u8]) -> Result<Vec<(String, TensorView)>, String> {
    let (objects, stack, marks, memo) = Default::default();
    let mut machine = Machine { code: pickle, objects, stack, marks, memo };
    let top = machine.run()?;
    let Object::Dict(entries) = &machine.objects[top] else { return Err("the file holds no dict of tensors".into()) };
    let mut tensors = Vec::new();
    for &[key, value] in entries {
        if let (Object::Text(name), Object::Tensor(tensor)) = (&machine.objects[key], &machine.objects[value]) {
            tensors.push((name.clone(), tensor.clone()));
        }
    }
    if tensors.is_empty() { Err("the file holds no dict of tensors".into()) } else { Ok(tensors) }
}

impl Machine<'_> {
    /// Follows all instructions and returns the place of the result.
    fn run(&mut self) -> Result<usize, String> {
        loop {
            let instruction = self.take(1)?[0];
            match instruction {
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b')' | b't' | 0x85..=0x87 => self.tuple(instruction)?,
                b'K' | b'M' | b'J' | 0x8a => self.int(instruction)?,
                b'X' | 0x8c => self.text(instruction)?,
                b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(instruction)?,
                b'}' | b's' | b'u' => self.dict(instruction)?,
                b'c' | 0x93 => self.global(instruction)?,
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                _ => self.unneeded(instruction)?,
            }
        }
    }

    /// Takes so many bytes of the instructions.
    fn take(&mut self, n: usize) -> Result<Vec<u8>, String> {
        let (taken, rest) = self.code.split_at_checked(n).ok_or("the pickle ends too early")?;
        self.code = rest;
        Ok(taken.to_vec())
    }

    /// Takes an unsigned number of so many bytes, at most eight.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| "the pickle is damaged: its stack is empty".into())
    }

    /// Pops all objects above the last mark, and the mark.
    fn pop_marked(&mut self) -> Result<Vec<usize>, String> {
        let height = self.marks.pop().filter(|height| *height <= self.stack.len());
        Ok(self.stack.split_off(height.ok_or("the pickle is damaged: a mark is missing")?))
    }

    fn tuple(&mut self, instruction: u8) -> Result<(), String> {
        let items = match instruction {
            b')' => Vec::new(),
            b't' => self.pop_marked()?,
            few => {
                let start = self.stack.len().checked_sub(usize::from(few - 0x84));
                self.stack.split_off(start.ok_or("the pickle is damaged: its stack is empty")?)
            }
        };
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn int(&mut self, instruction: u8) -> Result<(), String> {
        let value = match instruction {
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            b'J' => i64::from(self.number(4)? as u32 as i32),
            _ => {
                let width = self.number(1)? as usize;
                if width > 8 {
                    return Err("the pickle has an integer of more than 64 bits".into());
                }
                let unused = 64 - 8 * width as u32;
                // Two's complement: shifted up and down again, the sign fills what is left.
                if width == 0 { 0 } else { (self.number(width)? << unused) as i64 >> unused }
            }
        };
        self.push(Object::Int(value));
        Ok(())
    }

    fn text(&mut self, instruction: u8) -> Result<(), String> {
        let len = self.number(if instruction == b'X' { 4 } else { 1 })? as usize;
        let text = String::from_utf8(self.take(len)?).map_err(|_| "the pickle has a name that is no UTF-8")?;
        self.push(Object::Text(text));
        Ok(())
    }

    /// Stores the top of the stack under a number, or pushes what is stored there.
    fn memory(&mut self, instruction: u8) -> Result<(), String> {
        let place = match instruction {
            b'q' | b'h' => self.number(1)?,
            b'r' | b'j' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(instruction, b'h' | b'j') {
            self.stack.push(*self.memo.get(&place).ok_or("the pickle is damaged: it reads what it never stored")?);
        } else {
            let top = self.pop()?;
            self.memo.insert(place, top);
            self.stack.push(top);
        }
        Ok(())
    }

    fn dict(&mut self, instruction: u8) -> Result<(), String> {
        let items = match instruction {
            b'}' => {
                self.push(Object::Dict(Vec::new()));
                return Ok(());
            }
            b'u' => self.pop_marked()?,
            _ => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
        };
        let top = *self.stack.last().ok_or("the pickle is damaged: its stack is empty")?;
        if let Object::Dict(entries) = &mut self.objects[top] {
            entries.extend(items.as_chunks::<2>().0);
        }
        Ok(())
    }

    /// Pushes the name of a class or function. It is a text here, and nothing is looked up.
    fn global(&mut self, instruction: u8) -> Result<(), String> {
        let name = if instruction == b'c' {
            let mut lines = self.code.splitn(3, |byte| *byte == b'\n');
            let (Some(module), Some(name), Some(rest)) = (lines.next(), lines.next(), lines.next()) else {
                return Err("the pickle ends too early".into());
            };
            self.code = rest;
            format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name))
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let (Object::Text(module), Object::Text(name)) = (&self.objects[module], &self.objects[name]) else {
                return Err("the pickle is damaged: a name is missing".into());
            };
            format!("{module}.{name}")
        };
        self.push(Object::Global(name));
        Ok(())
    }

    /// Turns `("storage", class, key, place, length)` into a storage.
    fn storage(&mut self) -> Result<(), String> {
        let top = self.pop()?;
        let object = |i: usize| match &self.objects[top] {
            Object::Tuple(items) => items.get(i).map(|&item| &self.objects[item]),
            _ => None,
        };
        let (Some(Object::Global(class)), Some(Object::Text(key)), Some(Object::Int(len))) =
            (object(1), object(2), object(4))
        else {
            return Err("the pickle is damaged: it refers to no storage".into());
        };
        let kind = class.rsplit('.').next().unwrap_or_default().to_owned();
        let len = usize::try_from(*len).map_err(|_| "the pickle is damaged: a storage has no length")?;
        let storage = Object::Storage(Storage { key: key.clone(), kind, len });
        self.push(storage);
        Ok(())
    }

    /// Makes an object of the few kinds that a state dict has.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Object::Global(name), Object::Tuple(arguments)) = (&self.objects[function], &self.objects[arguments])
        else {
            return Err("the pickle is damaged: a call without a function".into());
        };
        let made = match (name.as_str(), &arguments[..]) {
            ("collections.OrderedDict", _) => Object::Dict(Vec::new()),
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, dims, strides, ..]) => {
                let view = self.view(storage, offset, dims, strides);
                Object::Tensor(view.ok_or("the pickle is damaged: a tensor without storage or shape")?)
            }
            ("torch._utils._rebuild_parameter", &[tensor, ..]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            _ => return Err(format!("the pickle calls {name}: no state dict needs that, and nothing is executed")),
        };
        self.push(made);
        Ok(())
    }

    fn view(&self, storage: usize, offset: usize, dims: usize, strides: usize) -> Option<TensorView> {
        let Object::Storage(storage) = &self.objects[storage] else { return None };
        let count = |object: usize| match self.objects[object] {
            Object::Int(value) => usize::try_from(value).ok(),
            _ => None,
        };
        let counts = |object: usize| match &self.objects[object] {
            Object::Tuple(items) => items.iter().map(|&item| count(item)).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let (dims, strides) = (counts(dims)?, counts(strides)?);
        let view = TensorView { storage: storage.clone(), offset: count(offset)?, dims, strides };
        (view.dims.len() == view.strides.len()).then_some(view)
    }

    /// Passes over what carries no tensor: versions, frames, flags, lists, attributes of a dict.
    fn unneeded(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'N' | b']' | 0x88 | 0x89 => self.push(Object::Other),
            b'G' => {
                self.take(8)?;
                self.push(Object::Other);
            }
            b'a' | b'b' => drop(self.pop()?),
            b'e' => drop(self.pop_marked()?),
            other => return Err(format!("the pickle has the instruction {other:#04x}, which no state dict needs")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::{ZipWriter, write::SimpleFileOptions};

    const GOLDEN: &str = "tests/golden/state-dict.bin";

    #[test]
    fn tensors_of_every_type_and_layout_are_read() {
        let file = TorchFile::open(Path::new(GOLDEN)).unwrap();
        let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
        let turned = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11u8].map(f32::from);
        let expected: [(&str, &[usize], &[f32]); 8] = [
            ("plain.weight", &[3, 4], &numbers),
            ("turned", &[4, 3], &turned),
            ("second_row", &[4], &[4.0, 5.0, 6.0, 7.0]),
            ("half", &[2], &[0.5, -2.0]),
            ("brain", &[1], &[1.5]),
            ("double", &[1, 1], &[3.25]),
            ("scalar", &[], &[7.0]),
            ("count", &[2], &[3.0, -4.0]),
        ];
        for (name, dims, values) in expected {
            assert_eq!(file.read(name, dims).unwrap(), values, "{name}");
        }
        assert!(file.read("half", &[3]).unwrap_err().to_string().contains("wanted [3], found [2]"));
        assert!(file.read("none", &[3]).unwrap_err().to_string().contains("\"none\" [3] is missing"));
    }

    fn refusal(pickle: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evil.bin");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("evil/data.pkl", SimpleFileOptions::default()).unwrap();
        archive.write_all(pickle).unwrap();
        archive.finish().unwrap();
        TorchFile::open(&path).err().expect("it is refused").to_string()
    }

    #[test]
    fn code_is_refused_by_its_name() {
        let message = refusal(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.");
        assert!(message.contains("evil.bin") && message.contains("the pickle calls os.system"), "{message}");
        // An instruction that makes an instance of any class.
        assert!(refusal(b"(ios\nsystem\n.").contains("instruction 0x69"));
    }

    #[test]
    fn damaged_files_are_refused_in_one_line() {
        for pickle in [
            &b""[..],
            b".",
            b"t.",
            b"K\x01.",
            b"}.",
            b"R.",
            b"Q.",
            b"h\x05.",
            b"\x87.",
            b"\x8a\xff.",
            b"K\x01K\x02K\x03s.",
        ] {
            let message = refusal(pickle);
            assert!(!message.contains('\n'), "{message}");
        }
        let (whole, folder) = (std::fs::read(GOLDEN).unwrap(), tempfile::tempdir().unwrap());
        let path = folder.path().join("state.bin");
        for length in (0..whole.len()).step_by(37) {
            std::fs::write(&path, &whole[..length]).unwrap();
            TorchFile::open(&path).err().expect("a truncated file is refused");
        }
        // A changed byte is refused, or changes numbers: never a panic.
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let _ = TorchFile::open(&path).map(drop);
        }
    }
}
