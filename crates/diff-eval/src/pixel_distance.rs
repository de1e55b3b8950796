//! The Fréchet distance without a network: Gaussians fitted to the grey levels themselves. On small
//! pictures it sees what a classifier's features may not, and it knows nothing of shapes.

use crate::{
    Error, FrechetReference, Gaussian, Result, Rows,
    bootstrap::{interval, replicates},
    pictures::Pictures,
};
use serde::Serialize;

/// Most values a picture may have: the distance takes the cube of their number, and a covariance
/// wants more pictures than that.
pub const MOST_VALUES: usize = 1024;

/// A Fréchet distance in grey levels, 0 (black) to 1 (white).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PixelDistance {
    /// The distance, called FD-pixels. It falls with the number of pictures and is to be compared
    /// at equal numbers only.
    pub fd: f64,
    /// Lower end of its interval (see [`interval`](crate::interval)); none without resamples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd_low: Option<f64>,
    /// Upper end of its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd_high: Option<f64>,
    /// Distances of resamples; those of two sets of one size under one seed draw the same indices.
    pub fd_replicates: Vec<f64>,
}

/// The distance of `pictures` to `reference`, with an interval from `bootstrap` resamples (0 for
/// none) under `seed`; none where a picture has more than [`MOST_VALUES`] values.
///
/// # Errors
/// When the shapes differ or a set has fewer than 2 pictures.
pub fn pixel_distance(
    pictures: &Pictures,
    reference: &Pictures,
    bootstrap: usize,
    seed: u64,
) -> Result<Option<PixelDistance>> {
    if pictures.shape != reference.shape {
        return Err(Error::Mismatch(format!(
            "pictures of {:?} (height, width, channels) against a reference of {:?}",
            pictures.shape, reference.shape
        )));
    }
    if pictures.shape.iter().product::<usize>() > MOST_VALUES {
        return Ok(None);
    }
    let reference = FrechetReference::new(&Gaussian::of(&rows(reference)?)?)?;
    let own = rows(pictures)?;
    let distance = |gaussian: &Gaussian| Ok(reference.distance(gaussian)?.value());
    let fd = distance(&Gaussian::of(&own)?)?;
    let fd_replicates = replicates(own.len(), bootstrap, seed, &|weights: &[u32]| {
        distance(&Gaussian::weighted(&own, weights)?)
    })?;
    let range = interval(fd, &fd_replicates);
    let (fd_low, fd_high) = (range.map(|i| i.low), range.map(|i| i.high));
    Ok(Some(PixelDistance { fd, fd_low, fd_high, fd_replicates }))
}

fn rows(pictures: &Pictures) -> Result<Rows> {
    let values = pictures.bytes.iter().map(|v| f64::from(*v) / 255.0).collect();
    Rows::new(pictures.shape.iter().product(), values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::read;

    #[test]
    fn two_known_sets_are_a_known_distance_apart() {
        // One pixel: 0 and 1 against 1 and 1; means 0.5 and 1, variances 0.5 and 0.
        let set = |bytes: &[u8]| Pictures { shape: [1, 1, 1], bytes: bytes.to_vec() };
        let found = pixel_distance(&set(&[0, 255]), &set(&[255, 255]), 0, 0).unwrap().unwrap();
        assert!((found.fd - 0.75).abs() < 1e-12, "{found:?}");
        assert_eq!((found.fd_low, found.fd_replicates.len()), (None, 0));
    }

    #[test]
    fn real_digits_are_near_each_other_and_far_from_their_mirror_images() {
        let (train, test) = (read("digits:train").unwrap(), read("digits:test").unwrap());
        let own = pixel_distance(&train, &train, 0, 0).unwrap().unwrap();
        assert!(own.fd.abs() < 1e-9);
        let near = pixel_distance(&test, &train, 20, 0).unwrap().unwrap();
        let mut mirrored = test.clone();
        mirrored.bytes.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        let far = pixel_distance(&mirrored, &train, 0, 0).unwrap().unwrap();
        assert!(near.fd_low.unwrap() < near.fd && near.fd < near.fd_high.unwrap());
        assert!(far.fd > 5.0 * near.fd_high.unwrap(), "{} {near:?}", far.fd);
    }

    #[test]
    fn large_pictures_have_none_and_other_shapes_are_refused() {
        let set =
            |side: usize| Pictures { shape: [side, side, 1], bytes: vec![7; 2 * side * side] };
        assert_eq!(pixel_distance(&set(33), &set(33), 0, 0).unwrap(), None);
        let error = pixel_distance(&set(3), &set(4), 0, 0).unwrap_err().to_string();
        assert!(error.contains("[3, 3, 1]") && error.contains("[4, 4, 1]"), "{error}");
    }
}
