//! Thrift's compact protocol, as far as the headers of parquet files need it.

use std::io::Read;

/// The result of reading a part of a file; its error becomes a part of a message.
pub(super) type Parsed<T> = Result<T, String>;

/// Structures within structures that are followed; those of parquet are six deep.
const MOST_DEPTH: u32 = 32;

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A truth that stands in the kind itself.
    Bool(bool),
    Byte,
    /// An integer of 16, 32 or 64 bits: they are written alike.
    Integer,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

impl Kind {
    fn new(code: u8) -> Parsed<Kind> {
        Ok(match code {
            1 => Kind::Bool(true),
            2 => Kind::Bool(false),
            3 => Kind::Byte,
            4..=6 => Kind::Integer,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            13 => Kind::Uuid,
            _ => return Err(format!("a field of the unknown kind {code}")),
        })
    }
}

/// Reads values one after the other.
pub(super) struct Thrift<R> {
    input: R,
    depth: u32,
}

impl<R: Read> Thrift<R> {
    pub fn new(input: R) -> Thrift<R> {
        Thrift { input, depth: 0 }
    }

    /// Reads a structure. `field` receives the number and kind of each field, and must read or skip it.
    pub fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, Kind) -> Parsed<()>) -> Parsed<()> {
        let mut last = 0i16;
        self.deeper(|this| {
            loop {
                let byte = this.byte()?;
                if byte == 0 {
                    return Ok(());
                }
                last = match byte >> 4 {
                    0 => i16::try_from(this.integer()?).map_err(|_| "a field without a number")?,
                    step => last.checked_add(i16::from(step)).ok_or("a field without a number")?,
                };
                field(this, last, Kind::new(byte & 15)?)?;
            }
        })
    }

    /// Reads a list of structures, each by `element`.
    pub fn structs(&mut self, mut element: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        let (length, kind) = self.list()?;
        if kind != Kind::Struct && length > 0 {
            return Err(format!("a list of {kind:?} where one of structures belongs"));
        }
        (0..length).try_for_each(|_| element(self))
    }

    pub fn integer(&mut self) -> Parsed<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads a text of at most so many bytes.
    pub fn text(&mut self, most: u64) -> Parsed<String> {
        let length = self.varint()?;
        if length > most {
            return Err(format!("a name of {length} bytes"));
        }
        let mut bytes = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 != length {
            return Err(ends_early());
        }
        String::from_utf8(bytes).map_err(|_| "a name that is no text".into())
    }

    pub fn skip(&mut self, kind: Kind) -> Parsed<()> {
        match kind {
            Kind::Bool(_) => Ok(()),
            Kind::Byte => self.pass(1),
            Kind::Integer => self.varint().map(drop),
            Kind::Double => self.pass(8),
            Kind::Uuid => self.pass(16),
            Kind::Binary => {
                let length = self.varint()?;
                self.pass(length)
            }
            Kind::Struct => self.fields(|this, _, kind| this.skip(kind)),
            Kind::List => self.deeper(|this| {
                let (length, kind) = this.list()?;
                (0..length).try_for_each(|_| this.skip_element(kind))
            }),
            Kind::Map => self.deeper(|this| {
                let length = this.varint()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = this.byte()?;
                let [key, value] = [Kind::new(kinds >> 4)?, Kind::new(kinds & 15)?];
                (0..length).try_for_each(|_| this.skip_element(key).and_then(|()| this.skip_element(value)))
            }),
        }
    }

    /// Within lists and maps a truth has a byte of its own.
    fn skip_element(&mut self, kind: Kind) -> Parsed<()> {
        if matches!(kind, Kind::Bool(_)) { self.pass(1) } else { self.skip(kind) }
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.depth == MOST_DEPTH {
            return Err("its structures are nested too deeply".into());
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// The length of a list, and the kind of its elements.
    fn list(&mut self) -> Parsed<(u64, Kind)> {
        let byte = self.byte()?;
        let length = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
        Ok((length, Kind::new(byte & 15)?))
    }

    fn varint(&mut self) -> Parsed<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".into())
    }

    fn byte(&mut self) -> Parsed<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte).map_err(|_| ends_early())?;
        Ok(byte[0])
    }

    fn pass(&mut self, bytes: u64) -> Parsed<()> {
        let passed = std::io::copy(&mut self.input.by_ref().take(bytes), &mut std::io::sink());
        if passed.is_ok_and(|passed| passed == bytes) { Ok(()) } else { Err(ends_early()) }
    }
}

fn ends_early() -> String {
    "it ends early".into()
}
