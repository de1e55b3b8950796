use super::take;
use crate::Result;
use candle_core::Tensor;
use diff_models::{ops, params::Params};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::HashMap, fmt};

/// Decays of moving averages, each in [0, 1); a single one may be written as a number. The first
/// gives the model that a run is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decays(pub Vec<f64>);

impl Decays {
    /// Refuses an empty list, a repeated decay and one out of range.
    ///
    /// # Errors
    /// Names the value.
    pub fn check(&self) -> Result<()> {
        let problem = |value: String, expected: &str| {
            Err(diff_core::Error::argument("train.ema", value, expected).into())
        };
        if self.0.is_empty() {
            return problem("[]".into(), "at least one decay; 0 follows the weights");
        }
        for (i, decay) in self.0.iter().enumerate() {
            if !(0.0..1.0).contains(decay) {
                return problem(decay.to_string(), "a value in [0, 1)");
            }
            if self.0[..i].contains(decay) {
                return problem(decay.to_string(), "every decay once");
            }
        }
        Ok(())
    }

    /// What to know of the model's average after so many steps: that it has not forgotten the weights it
    /// started from, if more than a thousandth of it are they.
    pub fn warning(&self, steps: usize) -> Option<String> {
        const FORGOTTEN: f64 = 1e-3;
        let decay = *self.0.first()?;
        let left = decay.powf(steps as f64);
        (left > FORGOTTEN).then(|| {
            let enough = FORGOTTEN.powf(1.0 / steps.max(1) as f64);
            let percent = 100.0 * left;
            format!(
                "train.ema = {decay}: after {steps} steps {percent:.2} % of the average are the weights it \
                 started from; a decay below {enough:.4} forgets them"
            )
        })
    }
}

impl<'de> Deserialize<'de> for Decays {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> de::Visitor<'de> for OneOrMany {
            type Value = Decays;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a decay or a list of decays")
            }

            fn visit_f64<E>(self, decay: f64) -> Result<Decays, E> {
                Ok(Decays(vec![decay]))
            }

            fn visit_i64<E>(self, decay: i64) -> Result<Decays, E> {
                Ok(Decays(vec![decay as f64]))
            }

            fn visit_u64<E>(self, decay: u64) -> Result<Decays, E> {
                Ok(Decays(vec![decay as f64]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Decays, A::Error> {
                let mut decays = Vec::new();
                while let Some(decay) = list.next_element()? {
                    decays.push(decay);
                }
                Ok(Decays(decays))
            }
        }
        from.deserialize_any(OneOrMany)
    }
}

/// What a moving average starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmaStart {
    /// The initial weights (ermongroup/ddim).
    #[default]
    Initial,
    /// The weights after the first step (SA-DPM).
    FirstStep,
}

/// A moving average of the weights, shadow <- m shadow + (1-m) weight after every step, without
/// bias correction.
pub struct Ema {
    decay: f64,
    waits: bool,
    shadow: Vec<(String, Tensor)>,
}

impl Ema {
    /// A shadow of the weights as they are; `decay` in [0, 1), 0 follows the weights.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(decay: f64, start: EmaStart, params: &Params) -> Result<Self> {
        let shadow = params
            .iter()
            .map(|(name, var)| Ok((name.to_string(), var.as_detached_tensor().copy()?)))
            .collect::<Result<_>>()?;
        Ok(Ema { decay, waits: start == EmaStart::FirstStep, shadow })
    }

    /// Takes the weights of another step in.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        let first = std::mem::take(&mut self.waits);
        for ((_, shadow), (_, var)) in self.shadow.iter_mut().zip(params.iter()) {
            let weight = var.as_detached_tensor();
            if first {
                *shadow = weight.copy()?;
                continue;
            }
            let (keep, new) = (self.decay as f32, (1.0 - self.decay) as f32);
            if !ops::update([shadow], [&weight], |[s], [w]| [keep * s + new * w])? {
                *shadow =
                    (shadow.affine(self.decay, 0.0)? + weight.affine(1.0 - self.decay, 0.0)?)?;
            }
        }
        Ok(())
    }

    /// Its decay.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// The averaged weights, in the parameters' order; the next update may change them in place.
    pub fn weights(&self) -> &[(String, Tensor)] {
        &self.shadow
    }

    /// Takes back averaged weights, stored as `prefix.<parameter>`, after `steps` steps.
    ///
    /// # Errors
    /// Names every tensor that is missing or has another shape.
    pub fn restore(
        &mut self,
        params: &Params,
        steps: usize,
        prefix: &str,
        state: &HashMap<String, Tensor>,
    ) -> Result<()> {
        let weights = take(params, prefix, state)?;
        self.shadow.iter_mut().zip(weights).for_each(|((_, shadow), weight)| *shadow = weight);
        self.waits = self.waits && steps == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_that_still_holds_its_start_is_told_of() {
        let warning = Decays(vec![0.999, 0.5]).warning(4000).unwrap();
        for part in ["train.ema = 0.999", "4000 steps 1.83 %", "below 0.9983"] {
            assert!(warning.contains(part), "{part} is not in {warning}");
        }
        assert_eq!(Decays(vec![0.995]).warning(4000), None);
        assert_eq!(Decays(vec![0.0]).warning(1), None);
    }
}
