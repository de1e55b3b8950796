use diff_core::{Schedule, Step};

/// The steps of a trajectory, from its largest time down to clean data.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    done: usize,
}

impl Plan {
    /// Plans over ascending paper times (repeats allowed: identity steps); the last step lands on
    /// clean data, time 0.
    pub fn new(times: &[usize], schedule: &Schedule) -> Self {
        let before = std::iter::once(&0).chain(times);
        let mut steps: Vec<Step> = before.zip(times).map(|(s, t)| schedule.step(*s, *t)).collect();
        steps.reverse();
        Plan { steps, done: 0 }
    }

    /// Steps not taken yet.
    pub fn remaining(&self) -> usize {
        self.steps.len() - self.done
    }

    /// The next step and its number from the start, or none at the end.
    pub fn advance(&mut self) -> Option<(usize, Step)> {
        let step = *self.steps.get(self.done)?;
        self.done += 1;
        Some((self.done - 1, step))
    }
}
