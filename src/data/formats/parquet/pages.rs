//! The pages of a chunk: headers, compression, levels, and the rows in them.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use super::bits::Runs;
use super::footer::{Chunk, Column};
use super::thrift::{Kind, Parsed, Thrift};
use super::values::{Dictionary, Value, Values};

/// Bytes of the largest page, 256 MiB; writers make pages of one megabyte, or of one image that is larger.
const MOST_PAGE: usize = 256 << 20;
/// Snappy makes at most 64 bytes of 3.
const MOST_SNAPPY: usize = 22;

/// Numbers of the page types.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// The header of a page.
#[derive(Default)]
struct Header {
    page: i64,
    /// Bytes as they are used, and as they lie in the file.
    length: usize,
    stored: usize,
    checksum: Option<u32>,
    values: u32,
    encoding: i64,
    /// Bytes of the levels, which are not compressed, in version 2.
    levels: usize,
    is_stored_plainly: bool,
}

/// Reads some rows of a column. `row` receives each with its value, or `None` where that is null.
///
/// # Errors
/// Damaged pages, compression that is not read, or the first error of `row`.
pub(super) fn read_rows(
    path: &Path,
    column: &Column,
    chunk: &Chunk,
    rows: Range<u32>,
    row: &mut dyn FnMut(u32, Option<Value>) -> Parsed<()>,
) -> Parsed<()> {
    let mut pages = Pages::new(path, chunk)?;
    let mut dictionary = None;
    let mut first = 0u32;
    while first < rows.end {
        let header = pages.header()?;
        match header.page {
            DICTIONARY => {
                dictionary = Some(Dictionary::new(column.physical, pages.body(&header)?, header.values)?);
            }
            DATA | DATA_V2 => {
                let end = first.checked_add(header.values).ok_or("its pages hold too many values")?;
                if end <= rows.start {
                    pages.pass(&header)?;
                } else {
                    let body = pages.body(&header)?;
                    read_page(
                        &header,
                        &body,
                        column,
                        dictionary.as_ref(),
                        first..end.min(rows.end),
                        &mut |at, value| {
                            if at < rows.start { Ok(()) } else { row(at, value) }
                        },
                    )?;
                }
                first = end;
            }
            _ => pages.pass(&header)?,
        }
    }
    Ok(())
}

/// Reads the first rows of a page.
fn read_page(
    header: &Header,
    body: &[u8],
    column: &Column,
    dictionary: Option<&Dictionary>,
    rows: Range<u32>,
    row: &mut dyn FnMut(u32, Option<Value>) -> Parsed<()>,
) -> Parsed<()> {
    let (mut levels, mut values) = (None, body);
    if column.most_level > 0 {
        let length = if header.page == DATA_V2 {
            header.levels
        } else {
            let (length, rest) = values.split_first_chunk().ok_or("the levels of a page are missing")?;
            values = rest;
            u32::from_le_bytes(*length) as usize
        };
        let (bytes, rest) = values.split_at_checked(length).ok_or("the levels of a page end early")?;
        values = rest;
        levels = Some(Runs::new(bytes, u32::BITS - column.most_level.leading_zeros())?);
    }
    let mut values = Values::new(column.physical, header.encoding, values, dictionary)?;
    for at in rows {
        let level = levels.as_mut().map_or(Ok(column.most_level), Runs::next)?;
        let value = if level == column.most_level { Some(values.next()?) } else { None };
        row(at, value)?;
    }
    Ok(())
}

/// An open chunk.
struct Pages {
    file: BufReader<File>,
    /// Bytes of the chunk that have not been read.
    left: u64,
    codec: i64,
}

impl Pages {
    fn new(path: &Path, chunk: &Chunk) -> Parsed<Pages> {
        let mut file = BufReader::new(File::open(path).map_err(|e| e.to_string())?);
        file.seek(SeekFrom::Start(chunk.start)).map_err(|e| e.to_string())?;
        Ok(Pages { file, left: chunk.length, codec: chunk.codec })
    }

    fn header(&mut self) -> Parsed<Header> {
        let mut input = Counted { input: (&mut self.file).take(self.left), bytes: 0 };
        let header = read_header(&mut Thrift::new(&mut input)).map_err(|reason| format!("damaged page: {reason}"))?;
        self.left -= input.bytes;
        if header.stored as u64 > self.left {
            return Err("damaged page: it reaches beyond its column".into());
        }
        if header.length > MOST_PAGE {
            return Err(format!("a page of {} bytes; at most {MOST_PAGE} are read", header.length));
        }
        Ok(header)
    }

    fn pass(&mut self, header: &Header) -> Parsed<()> {
        self.left -= header.stored as u64;
        self.file.seek_relative(header.stored as i64).map_err(|e| e.to_string())
    }

    /// The content of a page as it is used.
    fn body(&mut self, header: &Header) -> Parsed<Vec<u8>> {
        self.left -= header.stored as u64;
        let mut stored = Vec::new();
        (&mut self.file).take(header.stored as u64).read_to_end(&mut stored).map_err(|e| e.to_string())?;
        if stored.len() != header.stored {
            return Err("truncated: a page ends early".into());
        }
        if let Some(promised) = header.checksum {
            let mut checksum = flate2::Crc::new();
            checksum.update(&stored);
            if checksum.sum() != promised {
                return Err("damaged page: its checksum does not fit".into());
            }
        }
        if self.codec == 0 || header.is_stored_plainly {
            return Ok(stored);
        }
        let levels = stored.get(..header.levels).ok_or("the levels of a page end early")?;
        let length = header.length.checked_sub(header.levels).ok_or("the levels of a page end early")?;
        let rest = &stored[header.levels..];
        // A page of version 2 without values may have nothing to decompress.
        let inflated = if rest.is_empty() { Vec::new() } else { inflate(self.codec, rest, length)? };
        if inflated.len() != length {
            return Err(format!("damaged page: {} bytes where it promises {length}", inflated.len()));
        }
        Ok(if levels.is_empty() { inflated } else { [levels, &inflated].concat() })
    }
}

/// Decompresses to at most `length` bytes.
fn inflate(codec: i64, stored: &[u8], length: usize) -> Parsed<Vec<u8>> {
    const SNAPPY: i64 = 1;
    const GZIP: i64 = 2;
    const BROTLI: i64 = 4;
    const ZSTD: i64 = 6;
    const LZ4: i64 = 7;
    let damaged = |reason: String| format!("damaged page: {reason}");
    let mut inflated = Vec::new();
    match codec {
        SNAPPY => {
            if length > MOST_SNAPPY * stored.len() + 64 || snap::raw::decompress_len(stored).ok() != Some(length) {
                return Err(damaged(format!("it promises {length} bytes")));
            }
            return snap::raw::Decoder::new().decompress_vec(stored).map_err(|e| damaged(e.to_string()));
        }
        GZIP => flate2::read::MultiGzDecoder::new(stored).take(length as u64 + 1).read_to_end(&mut inflated),
        ZSTD => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(stored).map_err(|e| damaged(e.to_string()))?;
            decoder.take(length as u64 + 1).read_to_end(&mut inflated)
        }
        // At most 255 bytes of 1.
        LZ4 if length / 255 > stored.len() => return Err(damaged(format!("it promises {length} bytes"))),
        LZ4 => return lz4_flex::block::decompress(stored, length).map_err(|e| damaged(e.to_string())),
        BROTLI => return Err("Brotli compression is not read: write it with snappy, zstd, gzip or lz4_raw".into()),
        _ => return Err(format!("compression {codec} is not read: write it with snappy, zstd, gzip or lz4_raw")),
    }
    .map_err(|e| damaged(e.to_string()))?;
    Ok(inflated)
}

fn read_header<R: Read>(input: &mut Thrift<R>) -> Parsed<Header> {
    let mut header = Header::default();
    let size = |bytes: i64| usize::try_from(bytes).map_err(|_| format!("a length of {bytes} bytes"));
    input.fields(|input, id, kind| {
        match (id, kind) {
            (1, Kind::Integer) => header.page = input.integer()?,
            (2, Kind::Integer) => header.length = size(input.integer()?)?,
            (3, Kind::Integer) => header.stored = size(input.integer()?)?,
            (4, Kind::Integer) => header.checksum = Some(input.integer()? as u32),
            // Data, dictionary, data of version 2: the numbers of their fields differ.
            (5, Kind::Struct) => read_counts(input, &mut header, [1, 2, 0, 0, 0])?,
            (7, Kind::Struct) => read_counts(input, &mut header, [1, 2, 0, 0, 0])?,
            (8, Kind::Struct) => read_counts(input, &mut header, [1, 4, 5, 6, 7])?,
            _ => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// Reads the header of one type of pages, whose fields for the number of values, the encoding, the bytes of both kinds of
/// levels and the truth that it is compressed have these numbers.
fn read_counts<R: Read>(
    input: &mut Thrift<R>,
    header: &mut Header,
    [values, encoding, definition, repetition, compressed]: [i16; 5],
) -> Parsed<()> {
    input.fields(|input, id, kind| {
        match kind {
            Kind::Integer if id == values => {
                let values = input.integer()?;
                header.values = u32::try_from(values).map_err(|_| format!("a page of {values} values"))?;
            }
            Kind::Integer if id == encoding => header.encoding = input.integer()?,
            Kind::Integer if id == definition || id == repetition => {
                let bytes = input.integer()?;
                let bytes = usize::try_from(bytes).ok().and_then(|bytes| header.levels.checked_add(bytes));
                header.levels = bytes.ok_or("levels of no length")?;
            }
            Kind::Bool(is_compressed) if id == compressed => header.is_stored_plainly = !is_compressed,
            _ => input.skip(kind)?,
        }
        Ok(())
    })
}

/// Counts the bytes that are read.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
