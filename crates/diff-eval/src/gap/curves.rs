use crate::{Metric, Result};
use diff_core::{
    Error, Schedule,
    gap::{GapVariant, recursion},
};

/// The numbers that stand for the gap dbar_t at one time. SA-DPM's text does not say which of them
/// its figures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Mean over pictures of ||dbar_t||_2.
    L2,
    /// Root mean square of dbar_t over pictures and dimensions.
    Rms,
    /// Root mean square over dimensions of dbar_t averaged over pictures: what the pictures have in
    /// common. Averages of n pictures leave about 1/sqrt(n) of what they do not.
    Bias,
    /// Mean of dbar_t over pictures and dimensions, with its sign.
    Mean,
    /// What SA-DPM's `get_loss_value` computes (it returns a picture a time, without a scalar): root
    /// mean square over dimensions of a recursion on residuals that were averaged, with their signs,
    /// over the pictures first, that leaves out the residual at t0, and whose gamma2_t reads
    /// 1 - alpha_bar_{t-2}, so that at t = 2 only d_2 is left. That code averages over one batch,
    /// this over all pictures.
    Official,
    /// By how much `l2` grew in the step: l2_t - l2_{t+1}, with 0 above t0.
    Velocity,
    /// Mean over pictures of ||d_t||_2, the gap of the step alone.
    Step,
}

impl Scalar {
    /// Every scalar.
    pub const ALL: [Scalar; 7] = [
        Scalar::L2,
        Scalar::Rms,
        Scalar::Bias,
        Scalar::Mean,
        Scalar::Official,
        Scalar::Velocity,
        Scalar::Step,
    ];

    /// What the user types.
    pub fn name(self) -> &'static str {
        match self {
            Scalar::L2 => "l2",
            Scalar::Rms => "rms",
            Scalar::Bias => "bias",
            Scalar::Mean => "mean",
            Scalar::Official => "official",
            Scalar::Velocity => "velocity",
            Scalar::Step => "step",
        }
    }

    /// What it is, for an axis.
    pub fn label(self) -> &'static str {
        match self {
            Scalar::L2 => "mean over pictures of the gap's L2 norm",
            Scalar::Rms => "root mean square of the gap",
            Scalar::Bias => "root mean square of the mean gap",
            Scalar::Mean => "mean of the gap",
            Scalar::Official => "root mean square of get_loss_value",
            Scalar::Velocity => "growth of the gap's L2 norm per step",
            Scalar::Step => "mean L2 norm of the step's own gap",
        }
    }
}

/// Every scalar of the gap at t = t0, ..., 2, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct GapCurves {
    start: usize,
    /// In the order of [`Scalar::ALL`].
    values: [Vec<f64>; 7],
}

impl GapCurves {
    /// The times t0, ..., 2.
    pub fn times(&self) -> impl Iterator<Item = usize> {
        (2..=self.start).rev()
    }

    /// One scalar at every time.
    pub fn curve(&self, scalar: Scalar) -> &[f64] {
        &self.values[scalar as usize]
    }

    /// One scalar at t = 2, where the total gap stands.
    pub fn last(&self, scalar: Scalar) -> f64 {
        self.curve(scalar)[self.start - 2]
    }

    /// The largest value of one scalar.
    pub fn max(&self, scalar: Scalar) -> f64 {
        self.curve(scalar).iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Residuals and gaps of some pictures at one time, a row a picture.
#[derive(Clone, Debug, Default)]
pub struct GapStep {
    /// t, in 2..=t0.
    pub t: usize,
    /// The residuals r_t; the step's own gap is d_t = c_t r_t.
    pub residuals: Vec<f64>,
    /// The gaps so far, dbar_t.
    pub gaps: Vec<f64>,
}

/// Sums over pictures; row j belongs to t = 2 + j.
#[derive(Clone, Debug)]
pub struct GapSums<'a> {
    schedule: &'a Schedule,
    width: usize,
    pictures: Vec<u64>,
    norms: Vec<f64>,
    squares: Vec<f64>,
    own_norms: Vec<f64>,
    residuals: Vec<Vec<f64>>,
}

impl<'a> GapSums<'a> {
    /// Nothing yet, of trajectories from `start` (at least 2) of pictures of `width` values.
    pub fn new(schedule: &'a Schedule, start: usize, width: usize) -> Self {
        let rows = start - 1;
        GapSums {
            schedule,
            width,
            pictures: vec![0; rows],
            norms: vec![0.0; rows],
            squares: vec![0.0; rows],
            own_norms: vec![0.0; rows],
            residuals: vec![vec![0.0; width]; rows],
        }
    }
}

impl Metric for GapSums<'_> {
    type Input = GapStep;
    type Output = GapCurves;

    fn add(&mut self, step: &GapStep) -> Result<()> {
        let GapStep { t, residuals, gaps } = step;
        let rows = self.pictures.len();
        if !(2..rows + 2).contains(t) {
            return Err(Error::argument("t", t, format!("2..={}", rows + 1)).into());
        }
        let (row, own) = (t - 2, self.schedule.gap_coefficient(*t));
        for (residual, gap) in residuals.chunks(self.width).zip(gaps.chunks(self.width)) {
            let square = square(gap);
            self.pictures[row] += 1;
            self.norms[row] += square.sqrt();
            self.squares[row] += square;
            self.own_norms[row] += own * self::square(residual).sqrt();
            self.residuals[row].iter_mut().zip(residual).for_each(|(sum, r)| *sum += r);
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let ([ours, theirs], [width, other_width]) =
            ([self.pictures.len(), other.pictures.len()], [self.width, other.width]);
        if (ours, width) != (theirs, other_width) {
            return Err(crate::Error::Mismatch(format!(
                "gaps at {theirs} times of {other_width} values among gaps at {ours} of {width}"
            )));
        }
        let add = |a: &mut [f64], b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        self.pictures.iter_mut().zip(&other.pictures).for_each(|(a, b)| *a += b);
        add(&mut self.norms, &other.norms);
        add(&mut self.squares, &other.squares);
        add(&mut self.own_norms, &other.own_norms);
        self.residuals.iter_mut().zip(&other.residuals).for_each(|(a, b)| add(a, b));
        Ok(())
    }

    /// The curves, once every picture went through every time. The gap is linear in the residuals:
    /// the mean gap is the recursion on mean residuals.
    fn finish(mut self) -> Result<GapCurves> {
        if self.pictures.contains(&0) {
            return Err(crate::Error::Mismatch("a time that no picture went through".into()));
        }
        let schedule = self.schedule;
        let counts: Vec<f64> = self.pictures.iter().map(|n| *n as f64).collect();
        for (row, n) in self.residuals.iter_mut().zip(&counts) {
            row.iter_mut().for_each(|sum| *sum /= n);
        }
        let over = |sums: &[f64], share: f64| -> Vec<f64> {
            sums.iter().zip(&counts).rev().map(|(sum, n)| sum / (n * share)).collect()
        };
        let l2 = over(&self.norms, 1.0);
        let rms = over(&self.squares, self.width as f64).into_iter().map(f64::sqrt).collect();
        let before = std::iter::once(&0.0).chain(&l2);
        let velocity = l2.iter().zip(before).map(|(now, before)| now - before).collect();
        let mean_gap = recursion(schedule, GapVariant::Paper, 2, &self.residuals)?;
        let width = self.width as f64;
        let mean = mean_gap.iter().rev().map(|row| row.iter().sum::<f64>() / width).collect();
        let bias = roots(&mean_gap);
        drop(mean_gap);
        let official = roots(&recursion(schedule, GapVariant::Official, 2, &self.residuals)?);
        let step = over(&self.own_norms, 1.0);
        let values = [l2, rms, bias, mean, official, velocity, step];
        Ok(GapCurves { start: self.residuals.len() + 1, values })
    }
}

/// Root mean square of every row, the last row first.
fn roots(rows: &[Vec<f64>]) -> Vec<f64> {
    rows.iter().rev().map(|row| (square(row) / row.len() as f64).sqrt()).collect()
}

fn square(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use diff_core::ScheduleSpec;

    #[test]
    fn parts_merge_to_one_pass_and_what_does_not_belong_is_refused() {
        let schedule =
            Schedule::new(&ScheduleSpec { timesteps: 8, ..ScheduleSpec::default() }).unwrap();
        let step = |t: usize, first: usize, count: usize| {
            let value = |i: usize| ((t * 31 + (first * 3 + i) * 7) as f64).sin();
            let rows = |shift: f64| (0..3 * count).map(|i| value(i) + shift).collect();
            GapStep { t, residuals: rows(0.1), gaps: rows(-0.2) }
        };
        let sums = |parts: &[(usize, usize)]| {
            let mut sums = GapSums::new(&schedule, 4, 3);
            for (first, count) in parts {
                (2..=4).for_each(|t| sums.add(&step(t, *first, *count)).unwrap());
            }
            sums
        };
        let whole = sums(&[(0, 7)]).finish().unwrap();
        let mut merged = sums(&[(5, 2)]);
        merged.merge(sums(&[(0, 4), (4, 1)])).unwrap();
        let merged = merged.finish().unwrap();
        for scalar in Scalar::ALL {
            for (a, b) in whole.curve(scalar).iter().zip(merged.curve(scalar)) {
                assert!((a - b).abs() < 1e-12, "{scalar:?}: {a} {b}");
            }
        }
        let mut sums = GapSums::new(&schedule, 4, 3);
        assert!(sums.add(&step(5, 0, 1)).unwrap_err().to_string().contains("2..=4"));
        assert!(sums.merge(GapSums::new(&schedule, 4, 2)).is_err());
        assert!(sums.finish().unwrap_err().to_string().contains("no picture"));
    }
}
