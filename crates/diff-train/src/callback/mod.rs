//! What happens between the steps of a run.

mod held_out;
mod milestones;
mod preview;
mod record;

pub use held_out::HeldOut;
pub use milestones::Milestones;
pub use preview::Previews;
pub use record::Record;

use crate::{Result, StepReport, optim::Ema, subject::Subject};
use candle_core::Tensor;

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
    /// What is trained.
    pub subject: &'a dyn Subject,
    /// The averages of its weights, in the order of their decays; the first is what the run is
    /// about.
    pub averages: &'a [Ema],
    /// What the step measured.
    pub report: &'a StepReport,
    /// Pictures seen.
    pub images: usize,
    /// Pictures seen before the step.
    pub images_before: usize,
}

impl Moment<'_> {
    /// True if this step reached or passed a multiple of `every` pictures.
    pub fn due(&self, every: usize) -> bool {
        crate::config::due(self.images_before, self.images, every)
    }

    /// The averaged weights that the run is about.
    pub fn averaged(&self) -> &[(String, Tensor)] {
        self.averages.first().map_or(&[], Ema::weights)
    }
}
