use super::{Dataset, content};
use crate::Result;
use rayon::prelude::*;

/// What a data set looks like as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Mean of every channel, over values in [0, 1].
    pub mean: Vec<f64>,
    /// Standard deviation of every channel, over values in [0, 1].
    pub std: Vec<f64>,
    /// Pictures of every class.
    pub classes: Vec<u64>,
    /// Pictures without a label.
    pub unlabelled: u64,
}

/// How often each grey level occurs in a channel.
type Histogram = [u64; 256];

impl Statistics {
    /// Reads all pictures once.
    ///
    /// # Errors
    /// When the pictures are not those that the set was stored with.
    pub fn of(data: &Dataset) -> Result<Self> {
        let (found, histograms) = rayon::join(|| content::sha256(data), || histograms(data));
        if found != data.sha256() {
            let folder = data.folder().map(|folder| folder.display().to_string());
            let message = format!(
                "{} is damaged: its content has SHA-256 {found}; remove it to have it made again",
                folder.unwrap_or_default()
            );
            return Err(Dataset::error(data.name(), message));
        }
        let (mean, std) = histograms.iter().map(moments).unzip();
        let mut classes = vec![0; data.classes()];
        let mut unlabelled = 0;
        for label in (0..data.len()).map(|i| data.label(i)) {
            match label.and_then(|label| classes.get_mut(label as usize)) {
                Some(count) => *count += 1,
                None => unlabelled += 1,
            }
        }
        Ok(Statistics { mean, std, classes, unlabelled })
    }
}

fn histograms(data: &Dataset) -> Vec<Histogram> {
    let [channels, height, width] = data.shape();
    let none = || vec![[0; 256]; channels];
    let add = |mut sums: Vec<Histogram>, i: usize| {
        for (sum, plane) in sums.iter_mut().zip(data.picture(i).chunks(height * width)) {
            plane.iter().for_each(|value| sum[*value as usize] += 1);
        }
        sums
    };
    let merge = |mut a: Vec<Histogram>, b: Vec<Histogram>| {
        let pairs = a.iter_mut().flatten().zip(b.iter().flatten());
        pairs.for_each(|(a, b)| *a += b);
        a
    };
    (0..data.len()).into_par_iter().fold(none, add).reduce(none, merge)
}

/// Mean and standard deviation over levels / 255.
fn moments(histogram: &Histogram) -> (f64, f64) {
    let levels = || histogram.iter().enumerate().map(|(v, n)| (v as f64 / 255.0, *n as f64));
    let count: f64 = levels().map(|(_, n)| n).sum();
    let mean = levels().map(|(v, n)| v * n).sum::<f64>() / count;
    let variance = levels().map(|(v, n)| (v - mean).powi(2) * n).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataConfig, open};

    #[test]
    fn moments_and_counts_are_those_of_the_values() {
        let data = open(&DataConfig::default()).unwrap();
        let found = Statistics::of(&data).unwrap();
        let values: Vec<f64> = data.pixels().iter().map(|v| f64::from(*v) / 255.0).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((found.mean[0] - mean).abs() < 1e-12, "{} {mean}", found.mean[0]);
        assert!((found.std[0] - square.sqrt()).abs() < 1e-12);
        assert_eq!(found.classes.iter().sum::<u64>(), 1437);
        assert!(found.classes.iter().all(|n| *n > 100) && found.unlabelled == 0);
    }

    #[test]
    fn other_content_than_was_stored_is_noticed() {
        let mut data = open(&DataConfig::default()).unwrap();
        data.labels = data.labels.iter().map(|label| label ^ 1).collect();
        let error = Statistics::of(&data).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
