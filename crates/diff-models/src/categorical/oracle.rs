use super::Categorizer;
use crate::{Context, Error, Result};
use candle_core::Tensor;
use diff_core::discrete::CategoricalProcess;

/// The exact [`Categorizer`] of a distribution over finitely many pictures: what each pixel of x_0 was,
/// given all of x_t, by Bayes' rule over all of them.
#[derive(Clone, Debug)]
pub struct Enumerated {
    process: CategoricalProcess,
    size: [usize; 2],
    pictures: Vec<Vec<u32>>,
    weights: Vec<f64>,
}

impl Enumerated {
    /// Pictures of `size` (H, W), row-major and in the process' classes, with weights above 0, which
    /// are normalised.
    ///
    /// # Errors
    /// When there is no picture, one has another size or a level that is no class, or a weight is not
    /// a positive number.
    pub fn new(
        process: CategoricalProcess,
        size: [usize; 2],
        pictures: Vec<(Vec<u32>, f64)>,
    ) -> Result<Self> {
        let (pixels, classes) = (size[0] * size[1], process.classes());
        for (i, (picture, weight)) in pictures.iter().enumerate() {
            let bad = |what: String| Err(Error::Input(format!("picture {i}: {what}")));
            if picture.len() != pixels {
                return bad(format!("{} pixels, expected {pixels}", picture.len()));
            }
            if let Some(level) = picture.iter().find(|level| **level as usize >= classes) {
                return bad(format!("level {level}, expected 0..{classes}"));
            }
            if !(*weight > 0.0 && weight.is_finite()) {
                return bad(format!("weight {weight} is not positive"));
            }
        }
        if pixels == 0 || pictures.is_empty() {
            return Err(Error::Input("a distribution needs a picture with pixels".into()));
        }
        let total: f64 = pictures.iter().map(|(_, weight)| weight).sum();
        let (pictures, weights) = pictures.into_iter().map(|(p, w)| (p, w / total)).unzip();
        Ok(Enumerated { process, size, pictures, weights })
    }

    /// P(x_0 has level k at pixel i | x_t), at `[i][k]`, for one picture `x_t` at time `t`.
    ///
    /// # Panics
    /// When `t` is above T.
    pub fn posterior(&self, x_t: &[u32], t: usize) -> Vec<Vec<f64>> {
        let classes = self.process.classes();
        let (keep, other) = (self.process.keep(t), 1.0 - self.process.keep(t));
        let other = other / classes as f64;
        let likelihood = |picture: &Vec<u32>| -> f64 {
            let same = |(a, b): (&u32, &u32)| if a == b { keep + other } else { other };
            picture.iter().zip(x_t).map(same).product()
        };
        let shares: Vec<f64> =
            self.pictures.iter().zip(&self.weights).map(|(p, w)| w * likelihood(p)).collect();
        let total: f64 = shares.iter().sum();
        let mut posterior = vec![vec![0.0; classes]; x_t.len()];
        for (picture, share) in self.pictures.iter().zip(shares) {
            for (pixel, level) in posterior.iter_mut().zip(picture) {
                pixel[*level as usize] += share / total;
            }
        }
        posterior
    }
}

impl Categorizer for Enumerated {
    fn levels(&self) -> usize {
        self.process.classes()
    }

    /// Computed in f64 on the host. Of levels that are impossible the logarithm is that of the least
    /// positive number.
    fn forward(&self, x_t: &Tensor, t: &[f64], _: &Context) -> Result<Tensor> {
        let (rows, height, width) = x_t.dims3()?;
        if [height, width] != self.size || t.len() != rows {
            let (found, times) = (x_t.dims(), t.len());
            let expected = format!("[B, {height}, {width}] with B times");
            return Err(Error::Input(format!(
                "x_t {found:?} with {times} times; expected {expected}"
            )));
        }
        let (pixels, classes) = (height * width, self.levels());
        let mut logits = vec![0.0; rows * classes * pixels];
        let levels = x_t.flatten_all()?.to_vec1::<u32>()?;
        let outputs = logits.chunks_mut(classes * pixels);
        for ((row, t), out) in levels.chunks(pixels).zip(t).zip(outputs) {
            if !(1.0..=self.process.timesteps() as f64).contains(t) || t.fract() != 0.0 {
                let expected = format!("whole times in 1..={}", self.process.timesteps());
                return Err(Error::Input(format!("t = {t}: expected {expected}")));
            }
            for (i, pixel) in self.posterior(row, *t as usize).into_iter().enumerate() {
                for (k, p) in pixel.into_iter().enumerate() {
                    out[k * pixels + i] = p.max(f64::MIN_POSITIVE).ln();
                }
            }
        }
        Ok(Tensor::from_vec(logits, (rows, classes, height, width), x_t.device())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn process() -> CategoricalProcess {
        CategoricalProcess::linear(2, 4).unwrap()
    }

    #[test]
    fn the_posterior_is_bayes_rule() {
        let oracle =
            Enumerated::new(process(), [1, 2], vec![(vec![0, 0], 3.0), (vec![1, 1], 1.0)]).unwrap();
        // a_2 = 1/2: a pixel is what it was with probability 3/4.
        let posterior = oracle.posterior(&[0, 1], 2);
        for pixel in &posterior {
            assert!((pixel[0] - 0.75).abs() < 1e-15, "the evidence cancels: {pixel:?}");
        }
        let seen = oracle.posterior(&[1, 1], 2)[0][1];
        assert!((seen - 9.0 / (9.0 + 3.0)).abs() < 1e-15, "{seen}");
        // At T nothing is known.
        assert_eq!(oracle.posterior(&[1, 1], 4)[0], [0.75, 0.25]);

        let x = Tensor::new(&[[[0u32, 1]], [[1, 1]]], &Device::Cpu).unwrap();
        let logits = oracle.forward(&x, &[2.0, 4.0], &Context::Eval).unwrap();
        assert_eq!(logits.dims(), [2, 2, 1, 2]);
        let p = logits.exp().unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let expected = [0.75, 0.75, 0.25, 0.25, 0.75, 0.75, 0.25, 0.25];
        assert!(p.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-15), "{p:?}");
    }

    #[test]
    fn impossible_distributions_and_inputs_are_refused() {
        for (pictures, word) in [
            (vec![], "needs a picture"),
            (vec![(vec![0], 1.0)], "picture 0: 1 pixels, expected 2"),
            (vec![(vec![0, 0], 1.0), (vec![0, 2], 1.0)], "picture 1: level 2, expected 0..2"),
            (vec![(vec![0, 0], 0.0)], "weight 0"),
            (vec![(vec![0, 0], f64::NAN)], "weight NaN"),
        ] {
            let message = Enumerated::new(process(), [1, 2], pictures).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        let oracle = Enumerated::new(process(), [1, 2], vec![(vec![0, 1], 1.0)]).unwrap();
        let x = Tensor::zeros((1, 1, 2), candle_core::DType::U32, &Device::Cpu).unwrap();
        for times in [vec![], vec![0.0], vec![5.0], vec![1.5]] {
            assert!(oracle.forward(&x, &times, &Context::Eval).is_err(), "{times:?}");
        }
    }
}
