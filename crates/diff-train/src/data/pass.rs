//! The one pass over a source: read in order, decoded and prepared in parallel, handed on in order.

use super::{
    Bad, DataConfig, Dataset, Fault, Item, Pixels, Preparation, Prepared, Raw, Report, Source,
    decode::{Kind, decode},
    fault,
};
use crate::{Error, Result};
use diff_core::progress::Progress;
use rayon::prelude::*;
use std::{fs, path::Path};

/// A source and what is to be done with its pictures.
pub(super) struct Pass<'a> {
    source: &'a dyn Source,
    config: &'a DataConfig,
    preparation: Preparation,
    name: String,
}

/// A picture that is kept.
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) label: Option<u32>,
    /// C, H, W.
    pub(super) shape: [usize; 3],
    /// Row-major [C, H, W].
    pub(super) bytes: Vec<u8>,
}

/// What a pass found.
pub(super) struct Outcome {
    pub(super) shape: [usize; 3],
    pub(super) classes: Vec<String>,
    pub(super) report: Report,
}

/// A picture between decoding and storage.
struct Ready {
    shape: [usize; 3],
    bytes: Vec<u8>,
    kind: Kind,
    enlarged: bool,
}

/// Pictures and bytes in flight at most, of which twice as many are held: one part is read while
/// the other is decoded.
const CHUNK: usize = 256;
pub(super) const CHUNK_BYTES: usize = 1 << 26;
/// Labels above this are taken for an error.
const MAX_CLASSES: u32 = 1 << 20;

pub(super) type Items<'a> = Box<dyn Iterator<Item = Result<Item>> + Send + 'a>;

impl<'a> Pass<'a> {
    pub(super) fn new(source: &'a dyn Source, config: &'a DataConfig) -> Self {
        Pass { source, config, preparation: config.preparation(), name: source.name() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn source(&self) -> &dyn Source {
        self.source
    }

    pub(super) fn config(&self) -> &DataConfig {
        self.config
    }

    /// Hands every picture to `keep`, in the source's order.
    ///
    /// # Errors
    /// When the source does not read, no picture is left, pictures differ in shape, a label is out
    /// of range, or one is bad and that is refused.
    pub(super) fn run(&self, keep: &mut dyn FnMut(Kept) -> Result<()>) -> Result<Outcome> {
        let mut items = self.source.items()?;
        let mut tally = Tally::new(self);
        let mut progress = Progress::new(self.source.count().unwrap_or(0), "pictures");
        // The first picture alone: how many fit into memory is known when its shape is.
        let (config, preparation) = (self.config, &self.preparation);
        let mut chunk = read(config, &mut items, 1)?;
        while !chunk.is_empty() {
            let limit = tally.chunk();
            let (ready, next) =
                rayon::join(|| prepare(preparation, &chunk), || read(config, &mut items, limit));
            for (item, ready) in chunk.iter().zip(ready) {
                if let Some(kept) = tally.judge(item, ready)? {
                    keep(kept)?;
                }
            }
            progress.update(tally.seen as f64, "prepared");
            chunk = next?;
        }
        progress.finish();
        tally.finish()
    }

    /// Refuses a report with bad pictures where they are not to be skipped.
    ///
    /// # Errors
    /// Names the first bad picture.
    pub(super) fn accept(&self, report: &Report) -> Result<()> {
        accept(&self.name, self.config, report)
    }
}

/// [`Pass::accept`] for the source of this name.
pub(super) fn accept(name: &str, config: &DataConfig, report: &Report) -> Result<()> {
    match report.examples.first() {
        Some(bad) if config.bad == Bad::Refuse => {
            let message = format!(
                "{} is {} ({}); data.bad = \"skip\" leaves such pictures out",
                bad.name, bad.fault, bad.reason
            );
            Err(Dataset::error(name, message))
        }
        _ => Ok(()),
    }
}

/// What is known of the pictures so far.
struct Tally<'a> {
    pass: &'a Pass<'a>,
    names: Vec<String>,
    /// The first picture's name and shape.
    first: Option<(String, [usize; 3])>,
    classes: usize,
    seen: u64,
    report: Report,
}

impl<'a> Tally<'a> {
    fn new(pass: &'a Pass<'a>) -> Self {
        let names = pass.source.classes();
        let report = Report { ignored: pass.source.ignored(), ..Report::default() };
        Tally { pass, names, first: None, classes: 0, seen: 0, report }
    }

    /// Pictures to take at once.
    fn chunk(&self) -> usize {
        let Some((_, shape)) = &self.first else { return 1 };
        (CHUNK_BYTES / shape.iter().product::<usize>().max(1)).clamp(1, CHUNK)
    }

    fn judge(
        &mut self,
        item: &Item,
        ready: Result<Ready, (Fault, String)>,
    ) -> Result<Option<Kept>> {
        self.seen += 1;
        let Ready { shape, bytes, kind, enlarged } = match ready {
            Ok(ready) => ready,
            Err((fault, reason)) => {
                self.report.add_bad(&item.name, fault, &reason);
                self.pass.accept(&self.report)?;
                return Ok(None);
            }
        };
        if kind != Kind::Plain {
            self.report.add_decided(kind);
        }
        if enlarged {
            self.report.add_decided("enlarged");
        }
        self.check_shape(item, shape)?;
        self.check_label(item)?;
        Ok(Some(Kept { index: item.index, label: item.label, shape, bytes }))
    }

    fn check_shape(&mut self, item: &Item, shape: [usize; 3]) -> Result<()> {
        let (name, first) = self.first.get_or_insert_with(|| (item.name.clone(), shape));
        if *first == shape {
            return Ok(());
        }
        let key = if first[1..] == shape[1..] { "data.channels" } else { "data.resolution" };
        let message = format!(
            "{name} is {first:?} [C, H, W] but {} is {shape:?}; set {key} to make all alike",
            item.name
        );
        Err(Dataset::error(&self.pass.name, message))
    }

    fn check_label(&mut self, item: &Item) -> Result<()> {
        let Some(label) = item.label else { return Ok(()) };
        self.classes = self.classes.max(label.saturating_add(1) as usize);
        let limit = match self.names.len() {
            0 => MAX_CLASSES,
            named => named as u32,
        };
        if label < limit {
            return Ok(());
        }
        let message = format!("{} has label {label}, expected below {limit}", item.name);
        Err(Dataset::error(&self.pass.name, message))
    }

    fn finish(self) -> Result<Outcome> {
        let Tally { pass, names, first, classes, seen, report } = self;
        let Some((_, shape)) = first else {
            return Err(nothing_left(&pass.name, pass.config, seen, &report));
        };
        let classes = match names.is_empty() {
            true => (0..classes).map(|label| label.to_string()).collect(),
            false => names,
        };
        Ok(Outcome { shape, classes, report })
    }
}

/// The error of a source that `seen` pictures were read of, none of them kept.
pub(super) fn nothing_left(name: &str, config: &DataConfig, seen: u64, report: &Report) -> Error {
    let mut message = match (seen, report.warning()) {
        (0, _) => "no pictures".to_string(),
        (_, Some(warning)) => format!("no pictures left; {warning}"),
        (_, None) => "no pictures left".to_string(),
    };
    if report.ignored > 0 {
        let ignored = report.ignored;
        message += &format!("; {ignored} files are no pictures by their names");
    }
    if seen == 0 && (config.range.is_some() || config.held_out > 0) {
        message += " in this data.range and data.held_out";
    }
    Dataset::error(name, message)
}

/// The next pictures that are wanted, at most `limit` of them.
pub(super) fn read(config: &DataConfig, items: &mut Items, limit: usize) -> Result<Vec<Item>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < limit && bytes < CHUNK_BYTES {
        let Some(item) = items.next().transpose()? else { break };
        if config.range.is_some_and(|[_, end]| item.index >= end) {
            break;
        }
        if config.keeps(item.index) {
            bytes += match &item.raw {
                Raw::Encoded(bytes) => bytes.len(),
                Raw::Pixels(pixels) => pixels.bytes.len(),
                Raw::File(_) | Raw::Unreadable(_) => 0,
            };
            chunk.push(item);
        }
    }
    Ok(chunk)
}

fn prepare(preparation: &Preparation, chunk: &[Item]) -> Vec<Result<Ready, (Fault, String)>> {
    chunk.par_iter().map(|item| prepare_one(preparation, &item.raw)).collect()
}

fn prepare_one(preparation: &Preparation, raw: &Raw) -> Result<Ready, (Fault, String)> {
    let (Prepared { pixels, enlarged }, kind) = prepared(preparation, raw)?;
    let shape = [pixels.channels, pixels.height, pixels.width];
    Ok(Ready { shape, bytes: channels_first(&pixels), kind, enlarged })
}

/// A picture decoded and prepared, and what was special about its file.
pub(super) fn prepared(
    preparation: &Preparation,
    raw: &Raw,
) -> Result<(Prepared, Kind), (Fault, String)> {
    let from_bytes = |bytes: &[u8]| {
        let decoded = decode(bytes, preparation.channels);
        let fault = |reason: String| (Fault::named(&reason).unwrap_or(Fault::Damaged), reason);
        decoded.map(|d| (d.pixels, d.kind)).map_err(fault)
    };
    let (pixels, kind) = match raw {
        Raw::File(path) => from_bytes(&read_file(path)?)?,
        Raw::Encoded(bytes) => from_bytes(bytes)?,
        Raw::Pixels(pixels) => (pixels.clone(), Kind::Plain),
        Raw::Unreadable(reason) => return Err((Fault::Unreadable, reason.clone())),
    };
    let fault = |reason: String| (Fault::named(&reason).unwrap_or(Fault::Unfit), reason);
    Ok((preparation.apply(pixels).map_err(fault)?, kind))
}

/// The bytes of a picture's file.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, (Fault, String)> {
    let unreadable = |e: std::io::Error| (Fault::Unreadable, e.to_string());
    let size = fs::metadata(path).map_err(unreadable)?.len();
    match size > fault::BYTES {
        true => Err((Fault::TooLarge, format!("{size} bytes"))),
        false => fs::read(path).map_err(unreadable),
    }
}

/// [H, W, C] to [C, H, W].
fn channels_first(pixels: &Pixels) -> Vec<u8> {
    match pixels.channels {
        1 => pixels.bytes.clone(),
        c => (0..c).flat_map(|first| pixels.bytes[first..].iter().step_by(c).copied()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_first_and_rows_stay_rows() {
        let bytes = (0..18).collect();
        let pixels = Pixels { height: 2, width: 3, channels: 3, bytes };
        let rows: Vec<Vec<u8>> = channels_first(&pixels).chunks(3).map(<[u8]>::to_vec).collect();
        let expected: [[u8; 3]; 6] =
            [[0, 3, 6], [9, 12, 15], [1, 4, 7], [10, 13, 16], [2, 5, 8], [11, 14, 17]];
        assert_eq!(rows, expected);
    }
}
