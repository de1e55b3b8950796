//! TensorBoard event files, so that a run can be watched with the usual tool.
//!
//! A file is a row of TFRecords, each a protobuf message `Event`. We write the few fields that
//! scalars, pictures and texts need, byte for byte as TensorBoard's own writer does.

use crate::Result;
use diff_core::save::{Output, create_folder, io_error};
use std::{
    fs,
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Appends events to one file. Whatever is not flushed is lost in a crash; a record that was torn
/// by one is skipped by TensorBoard.
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<Output>,
}

impl EventWriter {
    /// Starts a new file in `folder`, named `events.out.tfevents.<seconds>.<host>.<pid>.<n>`.
    ///
    /// `wall_time` is in seconds since 1970, here and below.
    pub fn create(folder: &Path, wall_time: f64) -> Result<Self> {
        create_folder(folder)?;
        let (seconds, host, process) = (wall_time as u64, host(), std::process::id());
        let mut number = 0;
        let (file, path) = loop {
            let name = format!("events.out.tfevents.{seconds:010}.{host}.{process}.{number}");
            let path = folder.join(name);
            match Output::create_new(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                file => break (file.map_err(io_error(&path, "create"))?, path),
            }
        };
        let mut writer = EventWriter { path, file: BufWriter::new(file) };
        let mut event = Message::default();
        event.double(1, wall_time);
        event.bytes(3, b"brain.Event:2");
        writer.record(&event)?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number; TensorBoard draws the numbers of one `tag` over `step`.
    pub fn scalar(&mut self, step: u64, wall_time: f64, tag: &str, value: f64) -> Result<()> {
        let mut summary = Message::default();
        summary.bytes(1, tag.as_bytes());
        summary.float(2, value as f32);
        self.event(step, wall_time, &summary)
    }

    /// A picture of `[height, width, channels]`, encoded as PNG.
    pub fn image_png(
        &mut self,
        step: u64,
        wall_time: f64,
        tag: &str,
        [height, width, channels]: [usize; 3],
        png: &[u8],
    ) -> Result<()> {
        let mut image = Message::default();
        image.integer(1, height as u64);
        image.integer(2, width as u64);
        // What TensorBoard calls a colour space is the number of channels: 1 grey, 3 RGB, 4 RGBA.
        image.integer(3, channels as u64);
        image.bytes(4, png);
        let mut summary = Message::default();
        summary.bytes(1, tag.as_bytes());
        summary.message(4, &image);
        self.event(step, wall_time, &summary)
    }

    /// A text, shown as Markdown.
    pub fn text(&mut self, step: u64, wall_time: f64, tag: &str, text: &str) -> Result<()> {
        const STRING: u64 = 7;
        let mut dimension = Message::default();
        dimension.integer(1, 1);
        let mut shape = Message::default();
        shape.message(2, &dimension);
        let mut tensor = Message::default();
        tensor.integer(1, STRING);
        tensor.message(2, &shape);
        tensor.bytes(8, text.as_bytes());
        let mut plugin = Message::default();
        plugin.bytes(1, b"text");
        let mut metadata = Message::default();
        metadata.message(1, &plugin);
        let mut summary = Message::default();
        summary.bytes(1, format!("{tag}/text_summary").as_bytes());
        summary.message(8, &tensor);
        summary.message(9, &metadata);
        self.event(step, wall_time, &summary)
    }

    /// Hands everything to the system, where TensorBoard finds it.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush().map_err(io_error(&self.path, "append to"))?)
    }

    fn event(&mut self, step: u64, wall_time: f64, value: &Message) -> Result<()> {
        let mut summary = Message::default();
        summary.message(1, value);
        let mut event = Message::default();
        event.double(1, wall_time);
        event.integer(2, step);
        event.message(5, &summary);
        self.record(&event)
    }

    /// A TFRecord: length, its checksum, the data, its checksum.
    fn record(&mut self, event: &Message) -> Result<()> {
        let data = &event.0;
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] =
            [&length, &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()];
        let written = parts.into_iter().try_for_each(|part| self.file.write_all(part));
        Ok(written.map_err(io_error(&self.path, "append to"))?)
    }
}

/// CRC-32C, turned and shifted: a checksum of data that holds checksums would be weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message under construction; fields go in by rising number, as the official
/// serialisers order them. Zero integers are left out, as they are the default.
#[derive(Default)]
struct Message(Vec<u8>);

/// How the value of a field is laid out.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    fn integer(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, Wire::Varint);
            self.varint(value);
        }
    }

    fn double(&mut self, field: u32, value: f64) {
        self.key(field, Wire::Fixed64);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u32, value: f32) {
        self.key(field, Wire::Fixed32);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, Wire::Bytes);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u32, value: &Message) {
        self.bytes(field, &value.0);
    }

    fn key(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field) << 3 | wire as u64);
    }

    /// Seven bits a byte, low ones first; the top bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The name of this machine, as far as a file name may hold it.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim().replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_tfrecord() {
        // tensorboard.summary.writer.record_writer.masked_crc32c
        assert_eq!(masked_crc(b""), 0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
        assert_eq!(masked_crc(&24u64.to_le_bytes()), 0x224b_7fa3);
    }

    #[test]
    fn varints_are_those_of_protobuf() {
        for (value, expected) in [
            (0u64, &[0u8][..]),
            (1, &[1]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut message = Message::default();
            message.varint(value);
            assert_eq!(message.0, expected, "{value}");
        }
    }

    #[test]
    fn no_file_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventWriter::create(folder.path(), 1.7e9).unwrap();
        let second = EventWriter::create(folder.path(), 1.7e9).unwrap();
        assert_ne!(first.path(), second.path());
        let name = first.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents.1700000000.") && name.ends_with(".0"));
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("occupied");
        fs::write(&file, "").unwrap();
        let error = EventWriter::create(&file, 0.0).err().unwrap().to_string();
        assert!(error.contains("occupied"), "{error}");
    }
}
