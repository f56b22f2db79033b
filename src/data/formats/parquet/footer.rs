//! The footer of a parquet file: its columns, where their pages lie, and what `datasets` noted about them.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::thrift::{Kind, Parsed, Thrift};

/// Four bytes at the beginning and at the end of every file.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes of the longest name of a column.
const MOST_NAME: u64 = 4096;
/// Bytes of the longest note: ImageNet's thousand class names take 50 kB.
const MOST_NOTE: u64 = 1 << 24;
/// Rows of the largest group, 2^26; pyarrow's default is 2^20, and was this number once.
const MOST_ROWS: i64 = 1 << 26;
/// Levels of groups that columns are looked for in.
const MOST_LEVELS: usize = 16;

/// The contents of a footer.
#[derive(Debug, Default)]
pub(super) struct Footer {
    /// The columns in the order of their chunks.
    pub columns: Vec<Column>,
    pub groups: Vec<Group>,
    /// The note `huggingface`: JSON that says what each column is.
    pub features: Option<String>,
    rows: i64,
}

/// A column that holds values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// The names of the groups around it and its own, joined by dots.
    pub path: String,
    pub physical: Physical,
    /// True of bytes that are text.
    pub is_text: bool,
    /// The level of a value that is there; a lower one stands for null.
    pub most_level: u32,
    /// True of a column that holds lists.
    pub is_list: bool,
}

/// The type in which values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    Int32,
    Int64,
    Bytes,
    /// Numbers and times that hold neither images nor labels.
    Other,
}

/// A run of rows.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub rows: u32,
    pub chunks: Vec<Chunk>,
}

/// The values of a column in a group of rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    /// The first page, in bytes from the beginning of the file.
    pub start: u64,
    /// Bytes of all pages.
    pub length: u64,
    pub codec: i64,
}

/// An entry of the schema, which is a tree written in the order of a walk.
#[derive(Default)]
struct Element {
    name: String,
    physical: Option<i64>,
    repetition: i64,
    children: usize,
    is_text: bool,
}

impl Footer {
    /// Reads the footer of a file.
    pub fn read(path: &Path) -> Parsed<Footer> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        if length < 12 {
            return Err(format!("truncated: {length} bytes are no parquet file"));
        }
        let mut tail = [0; 8];
        file.seek(SeekFrom::Start(length - 8)).and_then(|_| file.read_exact(&mut tail)).map_err(|e| e.to_string())?;
        if &tail[4..] == b"PARE" {
            return Err("encrypted: write it without encryption".into());
        }
        if &tail[4..] != MAGIC {
            return Err("truncated: the footer of the parquet file is missing; copy or download it again".into());
        }
        let bytes = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let data_end = (length - 8).checked_sub(bytes).filter(|&end| end >= 4);
        let data_end = data_end.ok_or_else(|| format!("damaged: it promises a footer of {bytes} bytes"))?;
        file.seek(SeekFrom::Start(data_end)).map_err(|e| e.to_string())?;
        let mut footer = read_footer(&mut Thrift::new(BufReader::new(file.take(bytes))))
            .map_err(|reason| format!("damaged footer: {reason}"))?;
        footer.check(data_end).map_err(|reason| format!("damaged footer: {reason}"))?;
        footer.groups.retain(|group| group.rows > 0);
        Ok(footer)
    }

    /// Refuses groups whose pages cannot lie in the file.
    fn check(&self, data_end: u64) -> Parsed<()> {
        let rows: i64 = self.groups.iter().map(|group| i64::from(group.rows)).sum();
        if rows != self.rows {
            return Err(format!("it promises {} rows, but its groups hold {rows}", self.rows));
        }
        for (i, group) in self.groups.iter().enumerate() {
            if group.chunks.len() != self.columns.len() {
                let (chunks, columns) = (group.chunks.len(), self.columns.len());
                return Err(format!("group {i} has {chunks} columns, the file {columns}"));
            }
            for chunk in &group.chunks {
                if chunk.start < 4 || chunk.start.checked_add(chunk.length).is_none_or(|end| end > data_end) {
                    return Err(format!("the pages of group {i} lie outside of the data"));
                }
            }
        }
        Ok(())
    }
}

fn read_footer<R: Read>(input: &mut Thrift<R>) -> Parsed<Footer> {
    let (mut footer, mut elements) = (Footer::default(), Vec::new());
    input.fields(|input, id, kind| match (id, kind) {
        (3, Kind::Integer) => input.integer().map(|rows| footer.rows = rows),
        (2, Kind::List) => input.structs(|input| read_element(input).map(|element| elements.push(element))),
        (4, Kind::List) => input.structs(|input| read_group(input).map(|group| footer.groups.push(group))),
        (5, Kind::List) => input.structs(|input| {
            if let (key, Some(value)) = read_note(input)?
                && key == "huggingface"
            {
                footer.features = Some(value);
            }
            Ok(())
        }),
        _ => input.skip(kind),
    })?;
    footer.columns = columns(&elements)?;
    Ok(footer)
}

fn read_element<R: Read>(input: &mut Thrift<R>) -> Parsed<Element> {
    let mut element = Element::default();
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, Kind::Integer) => element.physical = Some(input.integer()?),
            (3, Kind::Integer) => element.repetition = input.integer()?,
            (4, Kind::Binary) => element.name = input.text(MOST_NAME)?,
            (5, Kind::Integer) => element.children = usize::try_from(input.integer()?).map_err(|e| e.to_string())?,
            // The converted type 0 is text, and so is the logical type 1.
            (6, Kind::Integer) => element.is_text |= input.integer()? == 0,
            (10, Kind::Struct) => input.fields(|input, id, kind| {
                element.is_text |= id == 1;
                input.skip(kind)
            })?,
            _ => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(element)
}

fn read_group<R: Read>(input: &mut Thrift<R>) -> Parsed<Group> {
    let mut group = Group::default();
    input.fields(|input, id, kind| match (id, kind) {
        (1, Kind::List) => input.structs(|input| {
            let mut chunk = None;
            input.fields(|input, id, kind| match (id, kind) {
                (3, Kind::Struct) => read_chunk(input).map(|read| chunk = Some(read)),
                _ => input.skip(kind),
            })?;
            group.chunks.push(chunk.ok_or("a column lies in another file, which is not read")?);
            Ok(())
        }),
        (3, Kind::Integer) => {
            let rows = input.integer()?;
            if !(0..=MOST_ROWS).contains(&rows) {
                return Err(format!("a group of {rows} rows; at most {MOST_ROWS} are read"));
            }
            group.rows = rows as u32;
            Ok(())
        }
        _ => input.skip(kind),
    })?;
    Ok(group)
}

fn read_chunk<R: Read>(input: &mut Thrift<R>) -> Parsed<Chunk> {
    let (mut chunk, mut data, mut dictionary) = (Chunk::default(), 0, 0);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (4, Kind::Integer) => chunk.codec = input.integer()?,
            (7, Kind::Integer) => chunk.length = u64::try_from(input.integer()?).map_err(|e| e.to_string())?,
            (9, Kind::Integer) => data = u64::try_from(input.integer()?).map_err(|e| e.to_string())?,
            (11, Kind::Integer) => dictionary = u64::try_from(input.integer()?).map_err(|e| e.to_string())?,
            _ => input.skip(kind)?,
        }
        Ok(())
    })?;
    // A dictionary stands before the data; some writers note a 0 where there is none.
    chunk.start = if dictionary > 0 { dictionary.min(data) } else { data };
    Ok(chunk)
}

/// A key and its value.
fn read_note<R: Read>(input: &mut Thrift<R>) -> Parsed<(String, Option<String>)> {
    let (mut key, mut value) = (String::new(), None);
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, Kind::Binary) => key = input.text(MOST_NAME)?,
            (2, Kind::Binary) if key == "huggingface" => value = Some(input.text(MOST_NOTE)?),
            _ => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// The leaves of the schema.
fn columns(elements: &[Element]) -> Parsed<Vec<Column>> {
    /// A group that is open, and how many of its children are to come.
    struct Open<'a> {
        path: Vec<&'a str>,
        level: u32,
        is_list: bool,
        left: usize,
    }
    const OPTIONAL: i64 = 1;
    const REPEATED: i64 = 2;
    let (root, rest) = elements.split_first().ok_or("it has no schema")?;
    let mut open = vec![Open { path: Vec::new(), level: 0, is_list: false, left: root.children }];
    let mut columns = Vec::new();
    for element in rest {
        while open.pop_if(|group| group.left == 0).is_some() {}
        let parent = open.last_mut().ok_or("its schema has columns outside of the root")?;
        parent.left -= 1;
        let path = [&parent.path[..], &[&element.name]].concat();
        let level = parent.level + u32::from([OPTIONAL, REPEATED].contains(&element.repetition));
        let is_list = parent.is_list || element.repetition == REPEATED;
        if path.len() > MOST_LEVELS {
            return Err("its columns are nested too deeply".into());
        }
        if element.children > 0 {
            open.push(Open { path, level, is_list, left: element.children });
            continue;
        }
        let physical = match element.physical {
            Some(0) => Physical::Boolean,
            Some(1) => Physical::Int32,
            Some(2) => Physical::Int64,
            Some(6) => Physical::Bytes,
            _ => Physical::Other,
        };
        columns.push(Column { path: path.join("."), physical, is_text: element.is_text, most_level: level, is_list });
    }
    if open.iter().any(|group| group.left > 0) {
        return Err("its schema promises more columns than it has".into());
    }
    Ok(columns)
}
