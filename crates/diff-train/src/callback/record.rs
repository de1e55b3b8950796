use crate::{
    Result,
    log::{HeldOutLine, Line, Log},
    tensorboard::EventWriter,
};
use diff_core::save::{self, io_error};
use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Where a run writes what it measures: its log, and for TensorBoard an event file that is made anew
/// from the log when a run goes on.
pub struct Record {
    log: Log,
    events: EventWriter,
    /// When the run would have begun if it had not been interrupted, in seconds since 1970.
    began: f64,
    /// Seconds of training at the last line that told.
    seconds: f64,
    held_out: Option<HeldOutLine>,
}

impl Record {
    /// The record of the run in `out`, which goes on after `lines`; `recipe` is shown with it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(out: &Path, log: Log, lines: &[Line], recipe: &str) -> Result<Self> {
        for entry in fs::read_dir(out).map_err(io_error(out, "list"))? {
            let entry = entry.map_err(io_error(out, "list"))?;
            if entry.file_name().to_string_lossy().starts_with("events.out.tfevents.") {
                save::remove(&entry.path())?;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        let trained = lines.iter().rev().find_map(Line::seconds).unwrap_or(0.0);
        let mut events = EventWriter::create(out, now - trained)?;
        // TensorBoard reads Markdown, in which what is indented stays as it is.
        let indented: String = recipe.lines().map(|line| format!("    {line}\n")).collect();
        events.text(0, now - trained, "config", &indented)?;
        let mut record = Record { log, events, began: now - trained, seconds: 0.0, held_out: None };
        lines.iter().try_for_each(|line| record.show(line))?;
        Ok(record)
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: Line) -> Result<()> {
        self.log.write(&line)?;
        self.show(&line)
    }

    /// Shows a picture of [h, w, c], encoded as PNG; it is kept elsewhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn picture(&mut self, step: usize, tag: &str, shape: [usize; 3], png: &[u8]) -> Result<()> {
        self.events.image_png(step as u64, self.began + self.seconds, tag, shape, png)?;
        self.events.flush()
    }

    /// Waits until every line is on disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    /// The last measurement on held-out pictures, those before a resumption included.
    pub fn held_out(&self) -> Option<&HeldOutLine> {
        self.held_out.as_ref()
    }

    fn show(&mut self, line: &Line) -> Result<()> {
        if let Line::HeldOut(line) = line {
            self.held_out = Some(line.clone());
        }
        self.seconds = line.seconds().unwrap_or(self.seconds);
        let (step, time) = (line.step() as u64, self.began + self.seconds);
        for (tag, value) in line.scalars() {
            self.events.scalar(step, time, &tag, value)?;
        }
        self.events.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{HeldOutLine, StepsLine};

    fn lines() -> [Line; 2] {
        let parts = |value: f64| serde_json::Map::from_iter([("simple".to_string(), value.into())]);
        let steps = StepsLine {
            step: 10,
            images: 80,
            loss: 2.0,
            parts: parts(1.5),
            grad_norm: 3.0,
            lr: 1e-3,
            seconds: 4.0,
        };
        let held_out = HeldOutLine {
            step: 10,
            images: 80,
            held_out: 2.5,
            held_out_parts: parts(2.25),
            pictures: 9,
        };
        [Line::Steps(steps), Line::HeldOut(held_out)]
    }

    #[test]
    fn a_line_becomes_one_curve_for_every_number() {
        let tags = |line: &Line| line.scalars().into_iter().collect::<Vec<_>>();
        let named = |name: &str, value| (name.to_string(), value);
        let [steps, held_out] = lines();
        let expected = [
            named("loss", 2.0),
            named("grad_norm", 3.0),
            named("lr", 1e-3),
            named("loss/simple", 1.5),
        ];
        assert_eq!(tags(&steps), expected);
        let expected = [named("held_out", 2.5), named("held_out/simple", 2.25)];
        assert_eq!(tags(&held_out), expected);
    }

    #[test]
    fn a_resumed_run_has_one_event_file_with_all_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = || Log::create(&dir.path().join("log.jsonl")).unwrap();
        let size = || -> Vec<u64> {
            let all = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
            let events = all.filter(|e| e.file_name().to_string_lossy().starts_with("events."));
            events.map(|e| e.metadata().unwrap().len()).collect()
        };
        let mut first = Record::new(dir.path(), log(), &[], "seed = 0\n").unwrap();
        lines().into_iter().for_each(|line| first.write(line).unwrap());
        let written = size();
        assert_eq!(written.len(), 1);
        drop(first);
        Record::new(dir.path(), log(), &lines(), "seed = 0\n").unwrap();
        assert_eq!(size(), written);
    }
}
