//! TensorBoard event files: TFRecords (length, checksum, protobuf message, checksum) of scalars and PNG images.
//!
//! The few protobuf fields that are needed are encoded by hand; their numbers are those of `event.proto` and
//! `summary.proto` in TensorFlow.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::grid::Picture;
use crate::{Error, Result};

/// Writes the events of a run into a new file of a folder.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Begins an event file in `folder`. With a `next_step` above 0, TensorBoard is told to forget what older files of
    /// the folder say about that step and later ones.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(folder: &Path, next_step: u64) -> Result<EventWriter> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let seconds = now().floor();
        let path = folder.join(format!("events.out.tfevents.{seconds}.ddpm"));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let mut writer = EventWriter { path, file };
        writer.write(0, |event| event.bytes(3, b"brain.Event:2"))?;
        if next_step > 0 {
            const SESSION_START: u64 = 1;
            writer.write(next_step, |event| event.message(7, |log| log.varint(1, SESSION_START)))?;
        }
        Ok(writer)
    }

    /// Adds scalars of one step.
    ///
    /// # Errors
    /// If the disk is full or the file is gone.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> Result<()> {
        self.write(step, |event| {
            event.message(5, |summary| {
                for (tag, value) in scalars {
                    summary.message(1, |entry| {
                        entry.bytes(1, tag.as_bytes());
                        entry.float(2, *value);
                    });
                }
            });
        })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// If the disk is full or the file is gone.
    pub fn picture(&mut self, step: u64, tag: &str, picture: &Picture) -> Result<()> {
        self.write(step, |event| {
            event.message(5, |summary| {
                summary.message(1, |entry| {
                    entry.bytes(1, tag.as_bytes());
                    entry.message(4, |image| {
                        image.varint(1, picture.height as u64);
                        image.varint(2, picture.width as u64);
                        image.varint(3, picture.channels as u64);
                        image.bytes(4, &picture.png());
                    });
                });
            });
        })
    }

    fn write(&mut self, step: u64, what: impl FnOnce(&mut Message)) -> Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        event.varint(2, step);
        what(&mut event);
        self.file.write_all(&record(&event.0)).map_err(Error::io(&self.path))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// Checksums of data that contain checksums are weak, so TFRecord stores them rotated and shifted.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message under construction. Each method appends a field by its number.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;
    const FIXED32: u64 = 5;

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3 | Self::VARINT);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.raw_varint(field << 3 | Self::FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.raw_varint(field << 3 | Self::FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | Self::BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::grid;

    /// A field of a decoded message.
    #[derive(Debug, PartialEq)]
    enum Field<'a> {
        Number(u64),
        Bytes(&'a [u8]),
    }

    fn take_varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn decode(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut fields = Vec::new();
        while !data.is_empty() {
            let key = take_varint(&mut data);
            let length = match key & 7 {
                Message::VARINT => {
                    fields.push((key >> 3, Field::Number(take_varint(&mut data))));
                    continue;
                }
                Message::FIXED64 => 8,
                Message::FIXED32 => 4,
                _ => take_varint(&mut data) as usize,
            };
            fields.push((key >> 3, Field::Bytes(&data[..length])));
            data = &data[length..];
        }
        fields
    }

    fn get<'a>(fields: &[(u64, Field<'a>)], number: u64) -> &'a [u8] {
        match fields.iter().find(|(field, _)| *field == number) {
            Some((_, Field::Bytes(bytes))) => bytes,
            other => panic!("field {number}: {other:?}"),
        }
    }

    fn records(mut file: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(file[8..12], masked_crc(&file[..8]).to_le_bytes());
            let data = &file[12..12 + length];
            assert_eq!(file[12 + length..16 + length], masked_crc(data).to_le_bytes());
            records.push(data);
            file = &file[16 + length..];
        }
        records
    }

    #[test]
    fn the_checksum_is_masked_crc32c() {
        // "123456789" is the published check value of CRC-32C: e3069283.
        assert_eq!(masked_crc(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn scalars_and_pictures_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), 300).unwrap();
        writer.scalars(301, &[("loss", 0.25), ("grad_norm", 2.0)]).unwrap();
        let picture = grid(&[0.5; 12], [1, 2, 2, 3], None);
        writer.picture(302, "samples", &picture).unwrap();

        let bytes = fs::read(&writer.path).unwrap();
        let events: Vec<_> = records(&bytes).into_iter().map(decode).collect();
        assert_eq!(events.len(), 4);
        assert_eq!(get(&events[0], 3), b"brain.Event:2");
        assert_eq!(decode(get(&events[1], 7)), [(1, Field::Number(1))]);
        assert!(events[1].contains(&(2, Field::Number(300))));

        let summary = decode(get(&events[2], 5));
        let Field::Bytes(second) = summary[1].1 else { panic!("{summary:?}") };
        assert_eq!(decode(second), [(1, Field::Bytes(b"grad_norm")), (2, Field::Bytes(&2.0f32.to_le_bytes()))]);

        let entry = decode(get(&decode(get(&events[3], 5)), 1));
        assert_eq!(get(&entry, 1), b"samples");
        let image = decode(get(&entry, 4));
        assert_eq!(image[0], (1, Field::Number(picture.height as u64)));
        assert_eq!(image[2], (3, Field::Number(3)));
        assert_eq!(get(&image, 4), picture.png());
    }
}
