//! Plain statistics of grey levels, in units of 0 (black) to 1 (white).

use crate::{Error, Metric, Result, pictures::Pictures};
use serde::Serialize;

/// Mean and deviation of every pixel over a set of pictures, from exact integer sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PixelMoments {
    shape: Option<[usize; 3]>,
    count: u64,
    sums: Vec<u64>,
    squares: Vec<u64>,
}

/// What [`PixelMoments`] come to.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelStatistics {
    /// Pictures seen.
    pub count: u64,
    /// Mean picture, [h, w, c].
    pub mean: Vec<f64>,
    /// Standard deviation of every pixel over the pictures, [h, w, c].
    pub deviation: Vec<f64>,
    /// Mean grey level of all pixels of all pictures.
    pub grey: f64,
    /// Standard deviation of all pixels of all pictures.
    pub spread: f64,
}

/// A set of pictures against a reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PixelReport {
    /// Pictures judged.
    pub images: u64,
    /// Pictures of the reference.
    pub reference_images: u64,
    /// Mean grey level.
    pub mean: f64,
    /// Standard deviation of grey levels.
    pub std: f64,
    /// Root mean square, over pixels, between the two mean pictures.
    pub mean_image_rms: f64,
    /// The same between the two pictures of standard deviations.
    pub std_image_rms: f64,
}

impl Metric for PixelMoments {
    type Input = Pictures;
    type Output = PixelStatistics;

    fn add(&mut self, pictures: &Pictures) -> Result<()> {
        self.agree(pictures.shape)?;
        for picture in pictures.bytes.chunks_exact(self.sums.len()) {
            self.count += 1;
            for ((sum, square), v) in self.sums.iter_mut().zip(&mut self.squares).zip(picture) {
                *sum += *v as u64;
                *square += *v as u64 * *v as u64;
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        let Some(shape) = other.shape else { return Ok(()) };
        self.agree(shape)?;
        self.count += other.count;
        self.sums.iter_mut().zip(other.sums).for_each(|(a, b)| *a += b);
        self.squares.iter_mut().zip(other.squares).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn finish(self) -> Result<PixelStatistics> {
        if self.count == 0 {
            return Err(Error::Mismatch("no pictures to take statistics of".into()));
        }
        let n = self.count as f64;
        let moments = |sum: f64, square: f64, n: f64| {
            let mean = sum / n;
            (mean / 255.0, (square / n - mean * mean).max(0.0).sqrt() / 255.0)
        };
        let pairs = self.sums.iter().zip(&self.squares);
        let (mean, deviation) = pairs.map(|(s, q)| moments(*s as f64, *q as f64, n)).unzip();
        let total = |sums: &[u64]| sums.iter().sum::<u64>() as f64;
        let values = n * self.sums.len() as f64;
        let (grey, spread) = moments(total(&self.sums), total(&self.squares), values);
        Ok(PixelStatistics { count: self.count, mean, deviation, grey, spread })
    }
}

impl PixelMoments {
    fn agree(&mut self, shape: [usize; 3]) -> Result<()> {
        match self.shape {
            Some(known) if known != shape => Err(Error::Mismatch(format!(
                "pictures of {shape:?} (height, width, channels) among pictures of {known:?}"
            ))),
            Some(_) => Ok(()),
            None => {
                let d = shape.iter().product();
                (self.sums, self.squares) = (vec![0; d], vec![0; d]);
                self.shape = Some(shape);
                Ok(())
            }
        }
    }
}

/// Compares pictures with a reference of the same shape.
///
/// # Errors
/// When the shapes differ or a set is empty.
pub fn compare(pictures: &Pictures, reference: &Pictures) -> Result<PixelReport> {
    if pictures.shape != reference.shape {
        return Err(Error::Mismatch(format!(
            "pictures of {:?} (height, width, channels) against a reference of {:?}",
            pictures.shape, reference.shape
        )));
    }
    let statistics = |set: &Pictures| {
        let mut moments = PixelMoments::default();
        moments.add(set)?;
        moments.finish()
    };
    let (ours, theirs) = (statistics(pictures)?, statistics(reference)?);
    Ok(PixelReport {
        images: ours.count,
        reference_images: theirs.count,
        mean: ours.grey,
        std: ours.spread,
        mean_image_rms: rms(&ours.mean, &theirs.mean),
        std_image_rms: rms(&ours.deviation, &theirs.deviation),
    })
}

fn rms(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::read;

    fn set(shape: [usize; 3], bytes: &[u8]) -> Pictures {
        Pictures { shape, bytes: bytes.to_vec() }
    }

    #[test]
    fn known_pictures_give_known_numbers() {
        // Two pictures of two pixels: (0, 255) and (255, 255).
        let report = compare(
            &set([1, 2, 1], &[0, 255, 255, 255]),
            &set([1, 2, 1], &[255, 255, 255, 255, 255, 255]),
        )
        .unwrap();
        assert_eq!((report.images, report.reference_images), (2, 3));
        assert!((report.mean - 0.75).abs() < 1e-15);
        assert!((report.std - (0.75f64 * 0.25).sqrt()).abs() < 1e-15);
        // Mean pictures (0.5, 1) and (1, 1); deviations (0.5, 0) and (0, 0).
        assert!((report.mean_image_rms - 0.125f64.sqrt()).abs() < 1e-15);
        assert!((report.std_image_rms - 0.125f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn merged_is_one_pass_and_order_does_not_matter() {
        let all = read("digits:train").unwrap();
        let cut = 500 * 64;
        let part = |bytes: &[u8]| {
            let mut moments = PixelMoments::default();
            moments.add(&set(all.shape, bytes)).unwrap();
            moments
        };
        let mut merged = part(&all.bytes[cut..]);
        merged.merge(part(&all.bytes[..cut])).unwrap();
        assert_eq!(merged, part(&all.bytes));
    }

    #[test]
    fn a_set_equals_itself_and_differs_from_its_mirror_image() {
        let all = read("digits:test").unwrap();
        let same = compare(&all, &all).unwrap();
        assert_eq!((same.mean_image_rms, same.std_image_rms, same.images), (0.0, 0.0, 360));
        let mut mirrored = all.clone();
        mirrored.bytes.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        assert!(compare(&mirrored, &all).unwrap().mean_image_rms > 0.05);
    }

    #[test]
    fn nothing_and_other_shapes_are_refused() {
        let (empty, one) = (set([1, 2, 1], &[]), set([1, 2, 1], &[1, 2]));
        assert!(compare(&empty, &one).unwrap_err().to_string().contains("no pictures"));
        let other = set([2, 1, 1], &[1, 2]);
        assert!(compare(&other, &one).unwrap_err().to_string().contains("[2, 1, 1]"));
        let error = read("digits:tset").unwrap_err().to_string();
        assert!(error.contains("digits:test"), "{error}");
        assert!(read("digist").unwrap_err().to_string().contains("did you mean `digits`"));
        assert!(read("/no/such.npz").unwrap_err().to_string().contains("/no/such.npz"));
    }
}
