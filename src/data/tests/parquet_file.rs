//! A writer of plain parquet files, for tests that need many rows, or odd ones.

/// A row: an image file, its path, and its label.
pub type Row<'a> = (Option<&'a [u8]>, Option<&'a str>, i64);

/// Values of Thrift's compact protocol.
#[derive(Default)]
struct Thrift(Vec<u8>);

impl Thrift {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A field that is `step` behind the one before it.
    fn i64(mut self, step: u8, value: i64) -> Thrift {
        self.0.push(step << 4 | 6);
        self.integer(value);
        self
    }

    fn text(mut self, step: u8, text: &str) -> Thrift {
        self.0.push(step << 4 | 8);
        self.varint(text.len() as u64);
        self.0.extend(text.bytes());
        self
    }

    fn structure(mut self, step: u8, inner: Thrift) -> Thrift {
        self.0.push(step << 4 | 12);
        self.0.extend(inner.0);
        self.0.push(0);
        self
    }

    fn list(mut self, step: u8, elements: impl ExactSizeIterator<Item = Thrift>) -> Thrift {
        self.0.push(step << 4 | 9);
        self.0.push(0xfc);
        self.varint(elements.len() as u64);
        elements.for_each(|element| self.0.extend(element.0.into_iter().chain([0])));
        self
    }
}

/// A page of values, `None` for null, below `levels` optional levels.
fn page<'a>(values: impl ExactSizeIterator<Item = Option<Vec<u8>>> + 'a, levels: u8) -> Vec<u8> {
    let (mut runs, mut data, count) = (Vec::new(), Vec::new(), values.len());
    for value in values {
        runs.extend([2, if value.is_some() { levels } else { levels.saturating_sub(1) }]);
        data.extend(value.unwrap_or_default());
    }
    let mut body = Vec::new();
    if levels > 0 {
        body.extend((runs.len() as u32).to_le_bytes());
        body.extend(runs);
    }
    body.extend(data);
    let counts = Thrift::default().i64(1, count as i64).i64(1, 0).i64(1, 3).i64(1, 3);
    let length = body.len() as i64;
    let header = Thrift::default().i64(1, 0).i64(1, length).i64(1, length).structure(2, counts);
    header.0.into_iter().chain([0]).chain(body).collect()
}

fn element(physical: Option<i64>, repetition: i64, name: &str, children: i64) -> Thrift {
    let start = physical.map_or_else(
        || Thrift::default().i64(3, repetition),
        |physical| Thrift::default().i64(1, physical).i64(2, repetition),
    );
    let named = start.text(1, name);
    if children > 0 { named.i64(1, children) } else { named }
}

/// A file with groups of `group` rows, and the note of `datasets` on its columns.
pub fn write(rows: &[Row], group: usize, note: Option<&str>) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    let prefixed = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
    let mut groups = Vec::new();
    for rows in rows.chunks(group) {
        let pages = [
            page(rows.iter().map(|row| row.0.map(prefixed)), 2),
            page(rows.iter().map(|row| row.1.map(|path| prefixed(path.as_bytes()))), 2),
            page(rows.iter().map(|row| Some(row.2.to_le_bytes().to_vec())), 0),
        ];
        let chunks = pages.map(|page| {
            let start = file.len() as i64;
            let length = page.len() as i64;
            file.extend(page);
            let codec = Thrift::default().i64(4, 0).i64(1, rows.len() as i64).i64(1, length).i64(1, length);
            Thrift::default().structure(3, codec.i64(2, start))
        });
        groups.push(Thrift::default().list(1, chunks.into_iter()).i64(2, rows.len() as i64));
    }
    let schema = [
        element(None, 0, "schema", 2),
        element(None, 1, "image", 2),
        element(Some(6), 1, "bytes", 0),
        element(Some(6), 1, "path", 0),
        element(Some(2), 0, "label", 0),
    ];
    let footer = Thrift::default().i64(1, 1).list(1, schema.into_iter()).i64(1, rows.len() as i64);
    let footer = footer.list(1, groups.into_iter());
    let notes = note.map(|note| Thrift::default().text(1, "huggingface").text(1, note));
    let footer = footer.list(1, notes.into_iter().collect::<Vec<_>>().into_iter());
    let start = file.len();
    file.extend(footer.0.into_iter().chain([0]));
    let length = (file.len() - start) as u32;
    file.extend(length.to_le_bytes());
    file.extend(b"PAR1");
    file
}
