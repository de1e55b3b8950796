//! What a network predicts, and how to read it as noise or as a clean image.

use crate::Error;
use candle_core::Tensor;

/// A network's output.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The mean of the reverse step, in one of its equivalent forms.
    pub mean: Mean,
    /// A second output block, where the network has one.
    pub second: Second,
}

/// The equivalent forms of a prediction, each `[B, C, H, W]`.
#[derive(Clone, Debug)]
pub enum Mean {
    /// The noise eps of x_t = sqrt(abar) x_0 + sqrt(1-abar) eps.
    Eps(Tensor),
    /// The clean image x_0.
    X0(Tensor),
    /// v = sqrt(abar) eps - sqrt(1-abar) x_0.
    V(Tensor),
    /// DDDM's F with x_0 = x_t - F.
    Residual(Tensor),
}

/// What a second output block means.
#[derive(Clone, Debug)]
pub enum Second {
    /// There is none.
    None,
    /// Interpolation between log beta (1) and log beta~ (-1) (improved DDPM).
    Range(Tensor),
    /// NPR-DPM's estimate of (eps - eps_hat)^2.
    Npr(Tensor),
    /// SN-DPM's estimate of eps^2.
    Sn(Tensor),
}

impl Mean {
    /// `f` of two predictions of the same form, in that form.
    ///
    /// # Errors
    /// When they are of different forms; those of `f`.
    pub fn zip(
        &self,
        other: &Mean,
        f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, Error>,
    ) -> Result<Mean, Error> {
        Ok(match (self, other) {
            (Mean::Eps(a), Mean::Eps(b)) => Mean::Eps(f(a, b)?),
            (Mean::X0(a), Mean::X0(b)) => Mean::X0(f(a, b)?),
            (Mean::V(a), Mean::V(b)) => Mean::V(f(a, b)?),
            (Mean::Residual(a), Mean::Residual(b)) => Mean::Residual(f(a, b)?),
            _ => return Err(Error::Input("two predictions of different forms".into())),
        })
    }

    /// Rows `first..first + count`, in the same form.
    fn rows(&self, first: usize, count: usize) -> Result<Mean, Error> {
        self.zip(self, |x, _| Ok(x.narrow(0, first, count)?))
    }
}

impl Second {
    fn rows(&self, first: usize, count: usize) -> Result<Second, Error> {
        let rows = |x: &Tensor| x.narrow(0, first, count);
        Ok(match self {
            Second::None => Second::None,
            Second::Range(x) => Second::Range(rows(x)?),
            Second::Npr(x) => Second::Npr(rows(x)?),
            Second::Sn(x) => Second::Sn(rows(x)?),
        })
    }
}

impl Prediction {
    /// Rows `first..first + count` of the batch.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn rows(&self, first: usize, count: usize) -> Result<Prediction, Error> {
        let (mean, second) = (self.mean.rows(first, count)?, self.second.rows(first, count)?);
        Ok(Prediction { mean, second })
    }

    /// A noise prediction without a second block.
    pub fn eps_only(eps: Tensor) -> Self {
        Prediction { mean: Mean::Eps(eps), second: Second::None }
    }

    /// The predicted noise at `x`, given alpha_bar per row (or one for all).
    pub fn eps(&self, x: &Tensor, alpha_bar: &[f64]) -> Result<Tensor, Error> {
        match &self.mean {
            Mean::Eps(eps) => Ok(eps.clone()),
            Mean::X0(x0) => x0_to_eps(x, x0, alpha_bar),
            Mean::V(v) => combine(v, alpha_bar, f64::sqrt, x, noise_scale),
            Mean::Residual(f) => x0_to_eps(x, &(x - f)?, alpha_bar),
        }
    }

    /// The predicted clean image at `x`, given alpha_bar per row (or one for all); not clipped.
    pub fn x0(&self, x: &Tensor, alpha_bar: &[f64]) -> Result<Tensor, Error> {
        match &self.mean {
            Mean::Eps(eps) => eps_to_x0(x, eps, alpha_bar),
            Mean::X0(x0) => Ok(x0.clone()),
            Mean::V(v) => combine(x, alpha_bar, f64::sqrt, v, |a| -noise_scale(a)),
            Mean::Residual(f) => Ok((x - f)?),
        }
    }
}

/// x_0 = (x - sqrt(1-abar) eps) / sqrt(abar). Where abar is 0 (jsd at t = T) it is taken as 1e-12.
pub fn eps_to_x0(x: &Tensor, eps: &Tensor, alpha_bar: &[f64]) -> Result<Tensor, Error> {
    let signal = |a: f64| 1.0 / a.max(1e-12).sqrt();
    combine(x, alpha_bar, signal, eps, |a| -noise_scale(a) * signal(a))
}

/// eps = (x - sqrt(abar) x_0) / sqrt(1-abar). At abar = 1 there is no noise to speak of: an error.
pub fn x0_to_eps(x: &Tensor, x0: &Tensor, alpha_bar: &[f64]) -> Result<Tensor, Error> {
    if alpha_bar.iter().any(|a| *a >= 1.0) {
        return Err(Error::Input("clean data (alpha_bar = 1) holds no noise to predict".into()));
    }
    let inverse = |a: f64| 1.0 / noise_scale(a);
    combine(x, alpha_bar, inverse, x0, |a| -a.sqrt() * inverse(a))
}

/// x_t = sqrt(abar) x_0 + sqrt(1-abar) eps, alpha_bar per row (or one for all).
pub fn diffuse(x0: &Tensor, eps: &Tensor, alpha_bar: &[f64]) -> Result<Tensor, Error> {
    combine(x0, alpha_bar, f64::sqrt, eps, noise_scale)
}

fn noise_scale(alpha_bar: f64) -> f64 {
    (1.0 - alpha_bar).sqrt()
}

/// f(abar) a + g(abar) b, row by row, coefficients computed in f64.
fn combine(
    a: &Tensor,
    alpha_bar: &[f64],
    f: impl Fn(f64) -> f64,
    b: &Tensor,
    g: impl Fn(f64) -> f64,
) -> Result<Tensor, Error> {
    Ok((scale_rows(a, alpha_bar, f)? + scale_rows(b, alpha_bar, g)?)?)
}

fn scale_rows(x: &Tensor, alpha_bar: &[f64], f: impl Fn(f64) -> f64) -> Result<Tensor, Error> {
    if let [one] = alpha_bar {
        return Ok(x.affine(f(*one), 0.0)?);
    }
    if alpha_bar.len() != x.dim(0)? {
        return Err(Error::Input(format!(
            "{} noise levels for a batch of {} rows",
            alpha_bar.len(),
            x.dim(0)?
        )));
    }
    if alpha_bar.windows(2).all(|w| w[0] == w[1]) && !alpha_bar.is_empty() {
        return Ok(x.affine(f(alpha_bar[0]), 0.0)?);
    }
    let values: Vec<f64> = alpha_bar.iter().map(|a| f(*a)).collect();
    let column = Tensor::new(values, x.device())?.to_dtype(x.dtype())?;
    let mut shape = vec![1; x.rank()];
    shape[0] = alpha_bar.len();
    Ok(x.broadcast_mul(&column.reshape(shape)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const LEVELS: [f64; 3] = [0.999, 0.4, 1e-4];

    fn wave(step: f64) -> Tensor {
        let values: Vec<f64> = (0..12).map(|i| (step * i as f64 + 0.1).sin()).collect();
        Tensor::from_vec(values, (3, 1, 2, 2), &Device::Cpu).unwrap()
    }

    fn assert_close(a: &Tensor, b: &Tensor, what: &str) {
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(flat(a).iter().zip(&flat(b)).all(close), "{what}: {a} {b}");
    }

    #[test]
    fn every_form_of_a_prediction_gives_the_same_noise_and_image() {
        let (x0, eps) = (wave(0.7), wave(1.9));
        let x = diffuse(&x0, &eps, &LEVELS).unwrap();
        // v = sqrt(abar) eps - sqrt(1-abar) x0 is `diffuse` of (eps, -x0).
        let v = diffuse(&eps, &x0.neg().unwrap(), &LEVELS).unwrap();
        let forms = [
            Mean::Eps(eps.clone()),
            Mean::X0(x0.clone()),
            Mean::V(v),
            Mean::Residual((&x - &x0).unwrap()),
        ];
        for mean in forms {
            let prediction = Prediction { mean, second: Second::None };
            let what = format!("{:?}", prediction.mean);
            assert_close(&prediction.eps(&x, &LEVELS).unwrap(), &eps, &what);
            assert_close(&prediction.x0(&x, &LEVELS).unwrap(), &x0, &what);
        }
    }

    #[test]
    fn rows_have_their_own_noise_level_or_share_one() {
        let (x0, eps) = (wave(0.7), wave(1.9));
        let rows = diffuse(&x0, &eps, &LEVELS).unwrap();
        for (row, level) in LEVELS.iter().enumerate() {
            let one =
                diffuse(&x0.narrow(0, row, 1).unwrap(), &eps.narrow(0, row, 1).unwrap(), &[*level]);
            assert_close(&rows.narrow(0, row, 1).unwrap(), &one.unwrap(), "row");
        }
        let shared = diffuse(&x0, &eps, &[0.4]).unwrap();
        assert_close(&shared, &diffuse(&x0, &eps, &[0.4; 3]).unwrap(), "shared");
        let error = diffuse(&x0, &eps, &[0.4, 0.5]).unwrap_err().to_string();
        assert!(error.contains("2 noise levels") && error.contains("3 rows"), "{error}");
    }

    #[test]
    fn the_ends_of_the_schedule_stay_finite_or_are_refused() {
        let (x, eps) = (wave(0.7), wave(1.9));
        let x0 = eps_to_x0(&x, &eps, &[0.0]).unwrap();
        let values = x0.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(values.iter().all(|v| v.is_finite()));
        assert!(x0_to_eps(&x, &eps, &[1.0]).unwrap_err().to_string().contains("alpha_bar = 1"));
        assert_close(&diffuse(&x, &eps, &[1.0]).unwrap(), &x, "clean data");
    }
}
