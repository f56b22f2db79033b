//! The pickle of a state dict: which tensor is which part of which storage.
//!
//! A pickle is a program for a stack machine. This reader executes no code: it knows the few instructions and the three
//! constructors that a state dict needs and refuses all others by name.

use std::collections::HashMap;

/// Dicts in dicts that are looked into: training loops save `{"model": ..., "ema": ...}`.
const DEPTH: usize = 3;

/// The numbers of one storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Storage {
    pub key: String,
    /// Type in the pickle, such as `FloatStorage`.
    pub kind: String,
    pub len: usize,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    pub storage: Storage,
    pub dims: Vec<usize>,
    offset: usize,
    strides: Vec<usize>,
}

impl TensorView {
    /// The values in row-major order, of the numbers of the storage; nothing if they lie outside of it, or are more.
    pub fn gather(&self, number: impl Fn(usize) -> f32) -> Option<Vec<f32>> {
        let numel = self.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        if numel > self.storage.len {
            return None;
        }
        let mut index = vec![0; self.dims.len()];
        let mut values = Vec::with_capacity(numel);
        for _ in 0..numel {
            let mut steps = index.iter().zip(&self.strides);
            let at = steps.try_fold(self.offset, |at, (i, stride)| at.checked_add(usize::checked_mul(*i, *stride)?))?;
            values.push(if at < self.storage.len { number(at) } else { return None });
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

/// Reads the tensors of a pickled state dict by name. Those of a dict within the dict have both names: `ema.conv.weight`.
pub(super) fn state_dict(pickle: &[u8]) -> Result<Vec<(String, TensorView)>, String> {
    let (objects, stack, marks, memo) = Default::default();
    let mut machine = Machine { code: pickle, objects, stack, marks, memo };
    let top = machine.run()?;
    let (mut tensors, mut dicts) = (Vec::new(), vec![(String::new(), top)]);
    for _ in 0..DEPTH {
        for (prefix, dict) in std::mem::take(&mut dicts) {
            let Object::Dict(entries) = &machine.objects[dict] else { continue };
            for &[key, value] in entries {
                let Object::Text(key) = &machine.objects[key] else { continue };
                match &machine.objects[value] {
                    Object::Tensor(tensor) => tensors.push((format!("{prefix}{key}"), tensor.clone())),
                    Object::Dict(_) => dicts.push((format!("{prefix}{key}."), value)),
                    _ => {}
                }
            }
            // Each object has its place once; only a damaged file puts one dict into many.
            if tensors.len().max(dicts.len()) > machine.objects.len() {
                return Err("the pickle is damaged: a dict is in several others".into());
            }
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
