//! What happens between the steps of a run.

mod held_out;
mod milestones;
mod preview;
mod record;

pub use held_out::HeldOut;
pub use milestones::Milestones;
pub use preview::Previews;
pub use record::Record;

use crate::{Result, StepReport, Trainer};
use diff_models::{Denoiser, checkpoint::Checkpoint};

/// Something to do between steps. It may look and write, and must not change the course of the run.
pub trait Callback {
    /// Called after every optimiser step.
    ///
    /// # Errors
    /// End the run.
    fn after_step(&mut self, moment: &Moment, record: &mut Record) -> Result<()>;
}

/// A run between two steps.
pub struct Moment<'a> {
    /// The trainer, its weights and averages.
    pub trainer: &'a Trainer<dyn Denoiser>,
    /// The network in the form in which it is written.
    pub checkpoint: &'a Checkpoint,
    /// What the step measured.
    pub report: &'a StepReport,
    /// Pictures seen before the step.
    pub images_before: usize,
}

impl Moment<'_> {
    /// True if this step reached or passed a multiple of `every` pictures.
    pub fn due(&self, every: usize) -> bool {
        crate::config::due(self.images_before, self.trainer.images(), every)
    }
}
