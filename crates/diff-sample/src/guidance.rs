//! Classifier-free guidance (Ho & Salimans, 2022; section 4.2 of the DDPM / conditional study): the
//! prediction under a class, led away from the one under the null label.

use crate::Result;
use candle_core::Tensor;
use diff_models::{Prediction, nets::Classes};
use serde::{Deserialize, Serialize};

/// How strongly samples are led towards their class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guidance {
    /// w of (1 + w) eps(x, t, class) - w eps(x, t, null), at least -1: 0 is the class alone, -1 the null
    /// label alone. (Others count from 1: their scale is 1 + w.)
    pub weight: f64,
    /// First and last paper time at which it is applied; none for all (Kynkaanniemi et al., 2024).
    pub interval: Option<[usize; 2]>,
    /// Share in [0, 1] of the result that is brought back to the deviation of the prediction under the
    /// class (Lin et al., 2023, equations 15 and 16).
    pub rescale: f64,
}

impl Guidance {
    /// Refuses values out of range, and guidance of a network that cannot be guided.
    ///
    /// # Errors
    /// Names the value and what was expected.
    pub fn check(&self, classes: Option<Classes>, timesteps: usize) -> Result<()> {
        let refuse = |name: &str, value: String, expected: &str| -> Result<()> {
            Err(diff_core::Error::argument(name, value, expected).into())
        };
        if !(self.weight.is_finite() && self.weight >= -1.0) {
            return refuse("guidance", self.weight.to_string(), "a finite number, at least -1");
        }
        if !(0.0..=1.0).contains(&self.rescale) {
            return refuse("guidance-rescale", self.rescale.to_string(), "a share in [0, 1]");
        }
        if let Some([first, last]) = self.interval
            && !(1 <= first && first <= last && last <= timesteps)
        {
            let expected = format!("FIRST,LAST with 1 <= FIRST <= LAST <= T = {timesteps}");
            return refuse("guidance-interval", format!("{first},{last}"), &expected);
        }
        let given = self.weight.to_string();
        match classes {
            _ if self.weight == 0.0 => Ok(()),
            None => refuse("guidance", given, "0, as the network knows no classes"),
            Some(classes) if !classes.knows_none() => {
                let expected = "0, as the network knows no null label: train with \
                                network.null_class = true and train.label_drop above 0";
                refuse("guidance", given, expected)
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the null label is asked about at paper time `t`.
    pub fn applies(&self, t: usize) -> bool {
        self.weight != 0.0 && self.interval.is_none_or(|[first, last]| (first..=last).contains(&t))
    }

    /// The guided prediction. All forms of a prediction are affine in each other at the same x_t, and
    /// the weights sum to 1, so that its form does not matter; a second block is that under the class.
    ///
    /// # Errors
    /// When the predictions are of different forms or shapes.
    pub fn combine(&self, class: &Prediction, null: &Prediction) -> Result<Prediction> {
        let mean = class.mean.zip(&null.mean, |class, null| {
            let led = (class.affine(1.0 + self.weight, 0.0)? - null.affine(self.weight, 0.0)?)?;
            if self.rescale == 0.0 {
                return Ok(led);
            }
            let ratio = (deviation(class)? / deviation(&led)?)?;
            let brought_back = led.broadcast_mul(&ratio)?;
            let parts =
                (brought_back.affine(self.rescale, 0.0)?, led.affine(1.0 - self.rescale, 0.0)?);
            Ok((parts.0 + parts.1)?)
        })?;
        Ok(Prediction { mean, second: class.second.clone() })
    }
}

/// Standard deviation of every picture's values, `[B, 1, 1, 1]`.
fn deviation(x: &Tensor) -> diff_models::Result<Tensor> {
    let rows = x.flatten_from(1)?;
    let away = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
    let deviation = away.sqr()?.mean_keepdim(1)?.sqrt()?;
    Ok(deviation.reshape((x.dim(0)?, 1, 1, 1))?)
}
