//! Exact denoisers: a Gaussian mixture's posterior mean is known in closed form under any
//! schedule, so samplers and measurements can be tested against truth, without a network.

use crate::{Condition, Context, Denoiser, Error, Prediction};
use candle_core::{DType, Device, Tensor};
use diff_core::{
    Schedule,
    rng::{Address, Purpose},
};

/// Data distributed as sum_k w_k N(mu_k, diag(v_k)) over flattened images.
#[derive(Clone, Debug)]
pub struct GaussianMixture {
    components: Vec<Component>,
    shape: [usize; 3],
    schedule: Schedule,
}

/// One component of a mixture.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its probability.
    pub weight: f64,
    /// Mean, one value per element of C, H, W.
    pub mean: Vec<f64>,
    /// Variance per element, at least 0.
    pub variance: Vec<f64>,
}

impl GaussianMixture {
    /// A mixture over images of `shape` (C, H, W); weights are normalised.
    ///
    /// # Errors
    /// When there is no component, a length differs from C*H*W, a weight is not positive or a
    /// variance negative.
    pub fn new(
        mut components: Vec<Component>,
        shape: [usize; 3],
        schedule: Schedule,
    ) -> Result<Self, Error> {
        let d: usize = shape.iter().product();
        let bad = |k: usize, what: String| Error::Input(format!("mixture component {k}: {what}"));
        for (k, c) in components.iter().enumerate() {
            if c.mean.len() != d || c.variance.len() != d {
                let lengths = (c.mean.len(), c.variance.len());
                return Err(bad(k, format!("{lengths:?} values for {d} elements")));
            }
            if !(c.weight > 0.0 && c.weight.is_finite()) {
                return Err(bad(k, format!("weight {} is not positive", c.weight)));
            }
            if c.variance.iter().any(|v| v.is_nan() || *v < 0.0) {
                return Err(bad(k, "a variance is negative".into()));
            }
        }
        let total: f64 = components.iter().map(|c| c.weight).sum();
        if components.is_empty() {
            return Err(Error::Input("a mixture needs a component".into()));
        }
        components.iter_mut().for_each(|c| c.weight /= total);
        Ok(GaussianMixture { components, shape, schedule })
    }

    /// A single Gaussian.
    pub fn single(
        mean: Vec<f64>,
        variance: Vec<f64>,
        shape: [usize; 3],
        schedule: Schedule,
    ) -> Result<Self, Error> {
        Self::new(vec![Component { weight: 1.0, mean, variance }], shape, schedule)
    }

    /// The schedule the oracle denoises under.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// E[x_0 | x_t = x] for one flattened image at noise level `alpha_bar`.
    pub fn posterior_mean(&self, x: &[f64], alpha_bar: f64) -> Vec<f64> {
        let (signal, noise) = (alpha_bar.sqrt(), 1.0 - alpha_bar);
        let logs: Vec<f64> =
            self.components.iter().map(|c| c.log_density(x, signal, noise)).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        let total: f64 = shares.iter().sum();
        let mut mean = vec![0.0; x.len()];
        for (c, share) in self.components.iter().zip(shares) {
            for (i, out) in mean.iter_mut().enumerate() {
                *out += share / total * c.posterior_mean(i, x[i], signal, noise);
            }
        }
        mean
    }

    /// ln of the density of x_t at one flattened image, at noise level `alpha_bar`.
    pub fn log_density(&self, x: &[f64], alpha_bar: f64) -> f64 {
        let (signal, noise) = (alpha_bar.sqrt(), 1.0 - alpha_bar);
        let logs: Vec<f64> =
            self.components.iter().map(|c| c.log_density(x, signal, noise)).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + logs.iter().map(|l| (l - top).exp()).sum::<f64>().ln()
    }

    /// Images `[n, C, H, W]` (f64) drawn from the data distribution; image i depends on (seed, i).
    pub fn sample(&self, n: usize, seed: u64) -> Result<Tensor, Error> {
        let d: usize = self.shape.iter().product();
        let mut values = Vec::with_capacity(n * d);
        for i in 0..n {
            let address = Address::new(seed, Purpose::Measure).index(i as u64);
            let mut u = [0f32];
            address.lane(1).fill_uniform(&mut u);
            let c = self.pick(u[0] as f64);
            let mut z = vec![0f32; d];
            address.fill_normal(&mut z);
            values.extend((0..d).map(|j| c.mean[j] + c.variance[j].sqrt() * z[j] as f64));
        }
        let [c, h, w] = self.shape;
        Ok(Tensor::from_vec(values, (n, c, h, w), &Device::Cpu)?)
    }

    fn pick(&self, u: f64) -> &Component {
        let mut left = u;
        for c in &self.components {
            left -= c.weight;
            if left <= 0.0 {
                return c;
            }
        }
        &self.components[self.components.len() - 1]
    }
}

impl Component {
    /// ln(w N(x; signal mu, signal^2 v + noise)).
    fn log_density(&self, x: &[f64], signal: f64, noise: f64) -> f64 {
        let mut log = self.weight.ln();
        for ((x, mean), variance) in x.iter().zip(&self.mean).zip(&self.variance) {
            let v = signal * signal * variance + noise;
            let r = x - signal * mean;
            log -= 0.5 * (r * r / v + (std::f64::consts::TAU * v).ln());
        }
        log
    }

    fn posterior_mean(&self, i: usize, x: f64, signal: f64, noise: f64) -> f64 {
        let (mean, v) = (self.mean[i], self.variance[i]);
        mean + signal * v / (signal * signal * v + noise) * (x - signal * mean)
    }
}

impl Denoiser for GaussianMixture {
    /// The exact noise prediction, computed in f64 on the host and returned in `x`'s dtype.
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _condition: &Condition,
        _context: &Context,
    ) -> Result<Prediction, Error> {
        let (b, c, h, w) = x.dims4()?;
        if [c, h, w] != self.shape || t.len() != b {
            return Err(Error::Input(format!(
                "x {:?} with {} times; expected [B, {:?}] with B times",
                x.dims(),
                t.len(),
                self.shape
            )));
        }
        let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let mut eps = Vec::with_capacity(values.len());
        for (row, t) in values.chunks(c * h * w).zip(t) {
            let alpha_bar = self.schedule.alpha_bar_at(*t);
            let x0 = self.posterior_mean(row, alpha_bar);
            let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
            eps.extend(row.iter().zip(x0).map(|(x, x0)| (x - signal * x0) / noise));
        }
        let eps = Tensor::from_vec(eps, (b, c, h, w), x.device())?.to_dtype(x.dtype())?;
        Ok(Prediction::eps_only(eps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diff_core::ScheduleSpec;

    fn mixture() -> GaussianMixture {
        let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
        let component = |weight, mean: [f64; 2], variance: [f64; 2]| Component {
            weight,
            mean: mean.to_vec(),
            variance: variance.to_vec(),
        };
        let components = vec![
            component(1.0, [-0.5, 0.2], [0.04, 0.0]),
            component(3.0, [0.7, -0.3], [0.01, 0.2]),
        ];
        GaussianMixture::new(components, [1, 1, 2], schedule).unwrap()
    }

    #[test]
    fn the_noise_prediction_is_the_score() {
        // Tweedie: eps = -sqrt(1-abar) grad log p(x_t), the gradient by central differences.
        let oracle = mixture();
        for t in [1usize, 37, 400, 1000] {
            let alpha_bar = oracle.schedule().alpha_bar(t);
            let x = [0.31, -0.12];
            let input = Tensor::new(&x, &Device::Cpu).unwrap().reshape((1, 1, 1, 2)).unwrap();
            let got = oracle
                .forward(&input, &[t as f64], &Condition::default(), &Context::Eval)
                .and_then(|p| p.eps(&input, &[alpha_bar]))
                .unwrap();
            let got = got.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for i in 0..2 {
                let h = 1e-6;
                let at = |d: f64| {
                    let mut y = x;
                    y[i] += d;
                    oracle.log_density(&y, alpha_bar)
                };
                let score = (at(h) - at(-h)) / (2.0 * h);
                let expected = -(1.0 - alpha_bar).sqrt() * score;
                assert!((got[i] - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{t} {i}");
            }
        }
    }

    #[test]
    fn the_posterior_mean_of_one_gaussian_is_bayes() {
        let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
        let oracle = GaussianMixture::single(vec![0.5], vec![0.25], [1, 1, 1], schedule).unwrap();
        let alpha_bar: f64 = 0.64;
        // Precisions add: 1/0.25 from the prior, 0.64/0.36 from the observation x / 0.8.
        let (prior, seen) = (4.0, 0.64 / 0.36);
        let expected = (prior * 0.5 + seen * (1.1 / 0.8)) / (prior + seen);
        assert!((oracle.posterior_mean(&[1.1], alpha_bar)[0] - expected).abs() < 1e-14);
    }

    #[test]
    fn samples_have_the_mixture_mean() {
        let x = mixture().sample(20_000, 1).unwrap().mean(0).unwrap();
        let mean = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!((mean[0] - 0.4).abs() < 0.02 && (mean[1] + 0.175).abs() < 0.02, "{mean:?}");
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
        let wrong = GaussianMixture::single(vec![0.0; 3], vec![1.0; 4], [1, 2, 2], schedule);
        assert!(wrong.unwrap_err().to_string().contains("component 0"));
    }
}
