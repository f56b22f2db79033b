//! The stack machine: protocols 2 to 5, without what makes objects of arbitrary classes.

use std::collections::HashMap;

use super::object::Object;

/// Objects and stack entries of the largest pickle that is read. CIFAR-100 has 160,000, the state dict of a network of a
/// thousand tensors 20,000.
const MOST_OBJECTS: usize = 1 << 22;

const EMPTY: &str = "the pickle is damaged: its stack is empty";

/// Follows the instructions, which call the `expected` functions; returns all objects, and the place of the result.
pub(super) fn run<'a>(code: &'a [u8], expected: &[&str]) -> Result<(Vec<Object<'a>>, usize), String> {
    let (objects, stack, marks, memo) = Default::default();
    let mut machine = Machine { code, expected, objects, stack, marks, memo };
    let top = machine.run()?;
    Ok((machine.objects, top))
}

struct Machine<'a, 'e> {
    /// The instructions that are left.
    code: &'a [u8],
    /// The functions that may be called.
    expected: &'e [&'e str],
    objects: Vec<Object<'a>>,
    stack: Vec<usize>,
    /// Heights of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

impl<'a> Machine<'a, '_> {
    fn run(&mut self) -> Result<usize, String> {
        loop {
            let instruction = self.take(1)?[0];
            match instruction {
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b')' | b't' | 0x85..=0x87 => self.tuple(instruction)?,
                b'K' | b'M' | b'J' | 0x8a | 0x8b => self.int(instruction)?,
                b'N' | 0x88 | 0x89 | b'G' => self.constant(instruction)?,
                b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.string(instruction)?,
                b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(instruction)?,
                b'}' | b's' | b'u' => self.dict(instruction)?,
                b']' | b'a' | b'e' => self.list(instruction)?,
                b'c' | 0x93 => self.global(instruction)?,
                b'R' | 0x81 | b'b' | b'Q' => self.call(instruction)?,
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_marked()?),
                b'2' => self.stack.push(*self.stack.last().ok_or(EMPTY)?),
                // Version and frame.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                other => return Err(format!("the pickle has the instruction {other:#04x}, which no data need")),
            }
            if self.objects.len().max(self.stack.len()).max(self.marks.len()) > MOST_OBJECTS {
                return Err(format!("the pickle has more than {MOST_OBJECTS} objects"));
            }
        }
    }

    /// Takes so many bytes of the instructions.
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.code.split_at_checked(n).ok_or("truncated: the pickle ends too early")?;
        self.code = rest;
        Ok(taken)
    }

    /// Takes the instructions up to the end of a line.
    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.code.iter().position(|byte| *byte == b'\n').ok_or("truncated: the pickle ends too early")?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "the pickle has a name that is no UTF-8".into())
    }

    /// Takes an unsigned number of so many bytes, at most eight.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    /// Pops all objects above the last mark, and the mark.
    fn pop_marked(&mut self) -> Result<Vec<usize>, String> {
        let height = self.marks.pop().filter(|height| *height <= self.stack.len());
        Ok(self.stack.split_off(height.ok_or("the pickle is damaged: a mark is missing")?))
    }

    fn top(&mut self) -> Result<&mut Object<'a>, String> {
        let top = *self.stack.last().ok_or(EMPTY)?;
        Ok(&mut self.objects[top])
    }

    fn tuple(&mut self, instruction: u8) -> Result<(), String> {
        let items = match instruction {
            b')' => Vec::new(),
            b't' => self.pop_marked()?,
            few => {
                let start = self.stack.len().checked_sub(usize::from(few - 0x84));
                self.stack.split_off(start.ok_or(EMPTY)?)
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
            long => {
                let width = self.number(if long == 0x8a { 1 } else { 4 })? as usize;
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

    fn constant(&mut self, instruction: u8) -> Result<(), String> {
        let object = match instruction {
            b'N' => Object::None,
            b'G' => Object::Float(f64::from_bits(self.number(8)?.swap_bytes())),
            _ => Object::Bool(instruction == 0x88),
        };
        self.push(object);
        Ok(())
    }

    /// A text, bytes, or a string of Python 2, after its length.
    fn string(&mut self, instruction: u8) -> Result<(), String> {
        let width = match instruction {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e | 0x96 => 8,
            _ => 4,
        };
        let len = usize::try_from(self.number(width)?).unwrap_or(usize::MAX);
        let bytes = self.take(len)?;
        self.push(if matches!(instruction, b'X' | 0x8c | 0x8d) {
            let text = std::str::from_utf8(bytes).map_err(|_| "the pickle has a text that is no UTF-8")?;
            Object::Text(text)
        } else {
            Object::Bytes(bytes)
        });
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
            self.memo.insert(place, *self.stack.last().ok_or(EMPTY)?);
        }
        Ok(())
    }

    fn dict(&mut self, instruction: u8) -> Result<(), String> {
        let items = match instruction {
            b'}' => Vec::new(),
            b'u' => self.pop_marked()?,
            _ => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
        };
        let pairs = items.as_chunks::<2>().0;
        match instruction {
            b'}' => self.push(Object::Dict(Vec::new())),
            _ => match self.top()? {
                Object::Dict(entries) => entries.extend(pairs),
                // An ordered dict is made by a call, and then filled.
                call @ Object::Call { .. } => *call = Object::Dict(pairs.to_vec()),
                _ => return Err("the pickle is damaged: entries without a dict".into()),
            },
        }
        Ok(())
    }

    fn list(&mut self, instruction: u8) -> Result<(), String> {
        let items = match instruction {
            b']' => Vec::new(),
            b'e' => self.pop_marked()?,
            _ => vec![self.pop()?],
        };
        match instruction {
            b']' => self.push(Object::List(items)),
            _ => match self.top()? {
                Object::List(list) => list.extend(items),
                _ => return Err("the pickle is damaged: items without a list".into()),
            },
        }
        Ok(())
    }

    /// Pushes the name of a class or function.
    fn global(&mut self, instruction: u8) -> Result<(), String> {
        let name = if instruction == b'c' {
            format!("{}.{}", self.line()?, self.line()?)
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

    /// Pushes a call that is not made, or gives one its state.
    fn call(&mut self, instruction: u8) -> Result<(), String> {
        let argument = self.pop()?;
        match instruction {
            b'Q' => self.push(Object::Persistent(argument)),
            b'b' => {
                // The attributes of a dict are of no use; any other state belongs to the object.
                if let Object::Call { state, .. } = self.top()? {
                    *state = Some(argument);
                }
            }
            _ => {
                let function = self.pop()?;
                match &self.objects[function] {
                    Object::Global(name) if self.expected.contains(&name.as_str()) => {}
                    Object::Global(name) => return Err(format!("the pickle calls {name}, which is not executed")),
                    _ => return Err("the pickle is damaged: a call without a function".into()),
                }
                self.push(Object::Call { function, arguments: argument, state: None });
            }
        }
        Ok(())
    }
}
