use crate::{
    Result,
    gap::{Addressed, CleanPictures, Noise, Subject, batches, check_counts, forward_sample},
};
use diff_core::{Error, LogRange, ReverseVariance, Schedule, Step, Trajectory, kl};
use std::{f64::consts::LN_2, ops::Range};

/// Stands in for an alpha_bar_T of 0, as everywhere.
const LEAST_ALPHA_BAR: f64 = 1e-12;

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LikelihoodRequest {
    /// The visited paper times, strictly increasing members of 1..=T.
    pub times: Vec<usize>,
    /// The variance of the reverse process.
    pub variance: ReverseVariance,
    /// Pictures, in the order of the data set; each of them once.
    pub num: u64,
    /// Pictures a network call serves at most; at least 1. Changes nothing but speed and memory.
    pub batch: usize,
    /// Seed of the noise: one draw for every picture and time.
    pub seed: u64,
    /// Whether the predicted x_0 is clipped to [-1, 1].
    pub clip: bool,
}

impl LikelihoodRequest {
    /// Refuses values out of range, and pictures whose grey levels the decoder does not know.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self, schedule: &Schedule, pictures: &CleanPictures) -> Result<()> {
        let refuse = |name, value: &dyn ToString, expected: String| {
            Err(Error::argument(name, value.to_string(), expected).into())
        };
        Trajectory::custom(&self.times, schedule.timesteps())?;
        if schedule.timesteps() < 2 {
            let expected = "at least 2: the decoder has the variance between times 1 and 2";
            return refuse("timesteps", &schedule.timesteps(), expected.into());
        }
        if !pictures.has_even_levels() {
            let expected = "rescaled: the decoder has 256 grey levels evenly over [-1, 1]";
            return refuse("data.transform", &"logit", expected.into());
        }
        if self.num > pictures.len() as u64 {
            let expected = format!("at most {}, all the pictures there are", pictures.len());
            return refuse("num", &self.num, expected);
        }
        check_counts(self.num, self.batch)
    }
}

/// The parts of one picture's bound, in bits per dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// KL(q(x_T | x_0) || N(0, I)), at the last visited time.
    pub prior: f64,
    /// The sum of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) over the visited times s < t.
    pub transitions: f64,
    /// -log p(x_0 | x_t) at the first visited time.
    pub decoder: f64,
}

impl Parts {
    /// The bound.
    pub fn total(&self) -> f64 {
        self.prior + self.transitions + self.decoder
    }
}

/// The bound of every picture, and its terms at every time.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The visited times, ascending.
    pub times: Vec<usize>,
    /// The mean over pictures of the term of the step down from each of them, in bits per
    /// dimension; the first is the decoder's.
    pub terms: Vec<f64>,
    /// Picture by picture.
    pub pictures: Vec<Parts>,
}

/// Measures the bound -log p(x_0) <= prior + transitions + decoder with one draw of x_t for every
/// picture and time.
///
/// The reverse process has the posterior's mean at the predicted x_0, and the variance asked for;
/// what that is at the last step, where a decoder over 256 grey levels stands, is told by
/// [`LogRange`]. `progress` hears how many pictures are done, those under way by their share of
/// steps.
///
/// # Errors
/// Values out of range, a learned variance asked of a network without one, predictions or terms
/// that are not finite.
pub fn measure(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &LikelihoodRequest,
    progress: &mut dyn FnMut(f64),
) -> Result<Likelihood> {
    measure_with(subject, pictures, request, &Addressed { seed: request.seed }, progress)
}

/// [`measure`] with noise from anywhere.
pub(super) fn measure_with(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &LikelihoodRequest,
    noise: &dyn Noise,
    progress: &mut dyn FnMut(f64),
) -> Result<Likelihood> {
    let schedule = subject.schedule;
    request.check(schedule, pictures)?;
    let before = std::iter::once(&0).chain(&request.times);
    let steps = before.zip(&request.times).map(|(s, t)| schedule.step(*s, *t));
    let terms: Vec<Term> = steps.map(|step| Term::new(schedule, step, request)).collect();
    let mut found = Likelihood {
        times: request.times.clone(),
        terms: vec![0.0; terms.len()],
        pictures: Vec::with_capacity(request.num as usize),
    };
    for numbers in batches(request.num, request.batch) {
        let (first, rows) = (numbers.start as f64, (numbers.end - numbers.start) as f64);
        let walk = Walk { subject, pictures, noise, terms: &terms };
        walk.through(numbers, &mut found, &mut |share| progress(first + share * rows))?;
    }
    found.terms.iter_mut().for_each(|sum| *sum /= request.num as f64);
    match found.pictures.iter().position(|parts| !parts.total().is_finite()) {
        None => Ok(found),
        Some(i) => Err(crate::Error::NotFinite(format!("the bound of picture {i}"))),
    }
}

struct Walk<'a> {
    subject: &'a Subject<'a>,
    pictures: &'a CleanPictures,
    noise: &'a dyn Noise,
    terms: &'a [Term],
}

impl Walk<'_> {
    /// Takes the pictures `numbers` through all terms.
    fn through(
        &self,
        numbers: Range<u64>,
        found: &mut Likelihood,
        progress: &mut dyn FnMut(f64),
    ) -> Result<()> {
        let (schedule, width) = (self.subject.schedule, self.pictures.width());
        let condition = self.subject.condition(self.pictures, numbers.clone())?;
        let x0 = self.pictures.values(numbers.clone());
        let first = found.pictures.len();
        let last = self.terms.last().map_or(0, |term| term.step.t);
        found.pictures.extend(x0.chunks(width).map(|x0| {
            let nats = x0.iter().map(|x0| kl::prior(schedule.alpha_bar(last), *x0));
            Parts { prior: bits(nats, width), ..Parts::default() }
        }));
        for (i, term) in self.terms.iter().enumerate() {
            let t = term.step.t;
            let (x, _) = forward_sample(schedule, self.noise, (numbers.clone(), &x0), t);
            let predicted = self.subject.predict(&x, self.pictures.shape(), t, &condition)?;
            let range = term.range(predicted.range)?;
            for (row, parts) in found.pictures[first..].iter_mut().enumerate() {
                let nats = (row * width..(row + 1) * width).map(|at| {
                    let said = range.as_ref().map_or(0.0, |range| range[at]);
                    term.nats(x0[at], x[at], predicted.eps[at], said)
                });
                let bits = bits(nats, width);
                *(if term.step.s == 0 { &mut parts.decoder } else { &mut parts.transitions }) +=
                    bits;
                found.terms[i] += bits;
            }
            progress((i + 1) as f64 / self.terms.len() as f64);
        }
        Ok(())
    }
}

fn bits(nats: impl Iterator<Item = f64>, width: usize) -> f64 {
    nats.sum::<f64>() / (width as f64 * LN_2)
}

/// One step's term.
struct Term {
    step: Step,
    /// Of x_0 and of the noise in x_t.
    signal: f64,
    noise: f64,
    posterior_variance: f64,
    clip: bool,
    log_variance: LogVariance,
}

enum LogVariance {
    Fixed(f64),
    /// a v + b.
    Learned(f64, f64),
}

impl Term {
    fn new(schedule: &Schedule, step: Step, request: &LikelihoodRequest) -> Self {
        let range = LogRange::new(schedule, &step);
        let log_variance = match range.fixed(request.variance, step.s == 0) {
            Some(log) => LogVariance::Fixed(log),
            None => {
                let (slope, offset) = range.affine();
                LogVariance::Learned(slope, offset)
            }
        };
        Term {
            step,
            signal: step.alpha_bar_t.max(LEAST_ALPHA_BAR).sqrt(),
            noise: schedule.one_minus_alpha_bar(step.t).sqrt(),
            posterior_variance: range.small.exp(),
            clip: request.clip,
            log_variance,
        }
    }

    /// What the network says of its variance, where that is asked for.
    fn range(&self, said: Option<Vec<f64>>) -> Result<Option<Vec<f64>>> {
        match (&self.log_variance, said) {
            (LogVariance::Fixed(_), _) => Ok(None),
            (LogVariance::Learned(..), Some(said)) => Ok(Some(said)),
            (LogVariance::Learned(..), None) => {
                let expected = "small or large: the network does not say its variance";
                Err(Error::argument("variance", "learned", expected).into())
            }
        }
    }

    /// The term of one value.
    fn nats(&self, x0: f64, x: f64, eps: f64, said: f64) -> f64 {
        let guess = (x - self.noise * eps) / self.signal;
        let guess = if self.clip { guess.clamp(-1.0, 1.0) } else { guess };
        let log_variance = match self.log_variance {
            LogVariance::Fixed(log) => log,
            LogVariance::Learned(slope, offset) => slope * said + offset,
        };
        if self.step.s == 0 {
            return -kl::decoder(x0, guess, (0.5 * log_variance).exp());
        }
        let off = self.step.gamma1() * (x0 - guess);
        kl::gaussian(off, self.posterior_variance, 0.0, log_variance.exp())
    }
}
