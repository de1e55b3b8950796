use super::{Callback, Moment, Record};
use crate::Result;
use std::path::{Path, PathBuf};

/// Keeps the averaged weights of every so many pictures for good, each as a checkpoint folder.
pub struct Milestones {
    every: usize,
    folder: PathBuf,
}

impl Milestones {
    /// Milestones every `every` pictures, in the run folder `out`.
    pub fn new(every: usize, out: &Path) -> Self {
        Milestones { every, folder: out.join("milestones") }
    }
}

impl Callback for Milestones {
    fn after_step(&mut self, moment: &Moment, _: &mut Record) -> Result<()> {
        if !moment.due(self.every) {
            return Ok(());
        }
        let images = moment.images;
        for (i, average) in moment.averages.iter().enumerate() {
            let name = match i {
                0 => format!("{images:010}"),
                _ => format!("{images:010}-ema-{}", average.decay()),
            };
            let folder = self.folder.join(name);
            moment.subject.write(&folder, average.weights(), moment.report.step)?;
        }
        Ok(())
    }
}
