//! Sampling watched: what is left of the noise at chosen times, and what the network takes the picture for.

use crate::{
    Clip, Outcome, Predict, Request, Result, Sampler, SamplerSpec, driver::Drive, driver::drawn,
    sinks::Kept,
};
use candle_core::Tensor;
use diff_core::{Error, Schedule};
use diff_models::Denoiser;
use std::sync::mpsc::{Sender, channel};

/// All samples at one time.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The time; 0 for the finished samples.
    pub time: usize,
    /// x_t, `[N, C, H, W]`.
    pub x: Tensor,
    /// The clean picture predicted of it, not clipped; x_0 itself at time 0.
    pub x0: Tensor,
}

/// Makes the requested samples and keeps how they are at `times`, each taken for the nearest time that the
/// sampler visits, or for 0; frames come in the order of `times`. A frame above time 0 costs one network
/// call a batch more. The samples are those of [`generate`](crate::generate).
///
/// # Errors
/// No times, times above T, and as [`generate`](crate::generate).
pub fn strip(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    spec: &SamplerSpec,
    request: &Request,
    times: &[usize],
    progress: &mut dyn FnMut(f64),
) -> Result<(Vec<Frame>, Outcome)> {
    let visited = spec.times(schedule)?;
    let wanted = nearest_times(times, spec, schedule)?;
    let (sender, receiver) = channel();
    let build = || -> Result<Box<dyn Sampler>> {
        let (visited, wanted) = (visited.clone(), wanted.clone());
        Ok(Box::new(Watched {
            sampler: spec.build(schedule)?,
            visited,
            wanted,
            sender: sender.clone(),
        }))
    };
    let starts = |indices: &[u64]| drawn(request, indices);
    let drive = Drive { denoiser, schedule, request, starts: &starts, build: &build };
    let outcome = drive.run(&mut Kept::default(), progress)?;
    let seen: Vec<Frame> = receiver.try_iter().collect();
    let frame = |time: &usize| -> Result<Frame> {
        let of_time = || seen.iter().filter(|frame| frame.time == *time);
        let x = Tensor::cat(&of_time().map(|f| &f.x).collect::<Vec<_>>(), 0)?;
        let x0 = Tensor::cat(&of_time().map(|f| &f.x0).collect::<Vec<_>>(), 0)?;
        Ok(Frame { time: *time, x, x0 })
    };
    Ok((wanted.iter().map(frame).collect::<Result<_>>()?, outcome))
}

/// For every time the nearest of those that the sampler visits, and 0.
///
/// # Errors
/// No times, times above T, and what [`SamplerSpec::times`] refuses.
pub fn nearest_times(
    times: &[usize],
    spec: &SamplerSpec,
    schedule: &Schedule,
) -> Result<Vec<usize>> {
    let timesteps = schedule.timesteps();
    let visited = spec.times(schedule)?;
    if times.is_empty() {
        return Err(Error::argument("times", "nothing", "at least one time").into());
    }
    if let Some(time) = times.iter().find(|time| **time > timesteps) {
        return Err(Error::argument("times", time, format!("times in 0..=T = {timesteps}")).into());
    }
    let near = |time: &usize| {
        let all = visited.iter().chain(&[0]);
        all.copied().min_by_key(|t| t.abs_diff(*time)).unwrap_or(0)
    };
    Ok(times.iter().map(near).collect())
}

/// A sampler that tells how samples are at the times wanted.
struct Watched {
    sampler: Box<dyn Sampler>,
    visited: Vec<usize>,
    wanted: Vec<usize>,
    sender: Sender<Frame>,
}

impl Watched {
    fn tell(&self, frame: Frame) {
        // Whoever does not listen any more does not want to know.
        let _ = self.sender.send(frame);
    }
}

impl Sampler for Watched {
    fn remaining(&self) -> usize {
        self.sampler.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let left = self.sampler.remaining();
        let time = if left == 0 { 0 } else { self.visited[left - 1] };
        // Of a time that a peer's list repeats, the last visit counts.
        let repeated = left > 1 && self.visited[left - 2] == time;
        if left > 0 && !repeated && self.wanted.contains(&time) {
            let x0 = predict.estimate(x, time, Clip::None)?.x0;
            self.tell(Frame { time, x: x.clone(), x0 });
        }
        let next = self.sampler.step(x, predict)?;
        if self.sampler.remaining() == 0 && self.wanted.contains(&0) {
            self.tell(Frame { time: 0, x: next.clone(), x0: next.clone() });
        }
        Ok(next)
    }
}
