use crate::{
    Result,
    log::{Line, Log},
};
use std::path::Path;

/// Where a run writes what it measures: the log.
pub struct Record {
    log: Log,
}

impl Record {
    /// The record of the run in `out`, which goes on after `lines`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(_out: &Path, log: Log, _lines: &[Line]) -> Result<Self> {
        Ok(Record { log })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: Line) -> Result<()> {
        self.log.write(&line)
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }
}
