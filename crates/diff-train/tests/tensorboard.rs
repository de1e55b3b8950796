//! Event files against TensorBoard's own writer (tests/golden/tensorboard_events.py).

#![cfg(test)]

use diff_train::tensorboard::EventWriter;

/// 3 x 2 pixels, RGB; the script holds the same bytes.
const PNG: &[u8] = include_bytes!("fixtures/events.png");

#[test]
fn events_are_those_of_the_official_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 1.7e9).unwrap();
    writer.scalar(0, 1.7e9 + 0.25, "loss/total", 0.125).unwrap();
    writer.scalar(300, 1.7e9 + 1.5, "loss/total", 1.0 / 3.0).unwrap();
    writer.scalar(300, 1.7e9 + 1.5, "train/lr", 0.0).unwrap();
    writer.scalar(u64::from(u32::MAX) + 1, 1.7e9 + 2.0, "loss/total", f64::NAN).unwrap();
    writer.image_png(301, 1.7e9 + 3.0, "samples", [2, 3, 3], PNG).unwrap();
    writer.text(0, 1.7e9 + 4.0, "config", "# grüße\n\nlr = 1e-3").unwrap();
    writer.flush().unwrap();
    let expected: &[u8] = include_bytes!("fixtures/events.bin");
    assert_eq!(std::fs::read(writer.path()).unwrap(), expected);
}
