//! How near samples are to pictures that were trained on: whether a model makes or remembers.

use crate::{Error, Result, pictures::Pictures};
use diff_core::rng::{Address, Purpose};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::Serialize;

/// Nearest neighbours of samples in pixel space. Distances are means over the samples of the
/// Euclidean norm of the difference of two pictures, grey levels from 0 (black) to 1 (white).
///
/// The nearest picture of a large set is nearer than that of a small one, whatever the samples are.
/// Training and held-out pictures are therefore compared in sets of equal size: both parts have
/// the size of the smaller set, and a larger one is represented by a random subset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memorisation {
    /// Distance to the nearest of all training pictures.
    #[serde(rename = "nn_train")]
    pub to_train: f64,
    /// Distance to the nearest of as many training pictures as held-out ones are compared.
    #[serde(rename = "nn_train_equal")]
    pub to_train_equal: f64,
    /// Distance to the nearest held-out picture.
    #[serde(rename = "nn_held_out")]
    pub to_held_out: f64,
    /// Share of the samples whose nearest neighbour in the part of the training set is nearer than
    /// that in the equally large part of the held-out set; a tie counts half. 0.5 where nothing is
    /// memorised.
    pub closer_to_train: f64,
    /// Share of the samples that equal a training picture in every pixel.
    pub copies: f64,
}

/// Samples that go through the set together, so that a picture is read once for all of them.
const BLOCK: usize = 16;
/// Bytes of a picture that are compared at once; their squared differences fit into 32 bits.
const PART: usize = 256;

/// Squared distance, in grey levels (0..=255), of every sample to its nearest picture in `set`;
/// exact, so that it does not depend on threads or on the order of the set.
///
/// # Errors
/// When the shapes differ, or a set is empty.
pub fn nearest(samples: &Pictures, set: &Pictures) -> Result<Vec<u64>> {
    if samples.shape != set.shape {
        return Err(Error::Mismatch(format!(
            "neighbours of pictures of {:?} (height, width, channels) among pictures of {:?}",
            samples.shape, set.shape
        )));
    }
    if samples.is_empty() || set.is_empty() {
        return Err(Error::Mismatch("no pictures to look for neighbours of or among".into()));
    }
    let size = samples.shape.iter().product();
    let arch = Arch::new();
    let of_block = |block: &[u8]| arch.dispatch(Search { block, size, set: &set.bytes });
    Ok(samples.bytes.par_chunks(size * BLOCK).flat_map_iter(of_block).collect())
}

/// Some samples in a whole set; plain loops, which the compiler turns into the machine's vectors.
struct Search<'a> {
    block: &'a [u8],
    size: usize,
    set: &'a [u8],
}

impl WithSimd for Search<'_> {
    type Output = Vec<u64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u64> {
        let Search { block, size, set } = self;
        let mut least = vec![u64::MAX; block.len() / size];
        for picture in set.chunks_exact(size) {
            for (least, sample) in least.iter_mut().zip(block.chunks_exact(size)) {
                // A picture that is already further away than the nearest needs no further look.
                let mut sum = 0;
                for (a, b) in sample.chunks(PART).zip(picture.chunks(PART)) {
                    sum += squared(a, b);
                    if sum >= *least {
                        break;
                    }
                }
                *least = (*least).min(sum);
            }
        }
        least
    }
}

/// Whether `samples` are nearer to the pictures trained on than to pictures held out. `seed` draws
/// the subset of the larger set.
///
/// # Errors
/// When the shapes differ, or a set is empty.
pub fn memorisation(
    samples: &Pictures,
    train: &Pictures,
    held_out: &Pictures,
    seed: u64,
) -> Result<Memorisation> {
    let equal = train.len().min(held_out.len());
    let to_train = nearest(samples, train)?;
    let part_of_train = nearest(samples, &subset(train, equal, seed))?;
    let part_of_held_out = nearest(samples, &subset(held_out, equal, seed))?;
    let to_held_out = match equal == held_out.len() {
        true => part_of_held_out.clone(),
        false => nearest(samples, held_out)?,
    };
    let n = samples.len() as f64;
    let closer = part_of_train.iter().zip(&part_of_held_out).map(|(train, held_out)| {
        match train.cmp(held_out) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        }
    });
    Ok(Memorisation {
        to_train: mean_distance(&to_train),
        to_train_equal: mean_distance(&part_of_train),
        to_held_out: mean_distance(&to_held_out),
        closer_to_train: closer.sum::<f64>() / n,
        copies: to_train.iter().filter(|d| **d == 0).count() as f64 / n,
    })
}

/// Mean distance, grey levels from 0 to 1, from squared ones (at least one) in levels of 0..=255.
pub fn mean_distance(squared: &[u64]) -> f64 {
    let sum: f64 = squared.iter().map(|d| (*d as f64).sqrt() / 255.0).sum();
    sum / squared.len() as f64
}

/// `count` pictures of the set, all of them in order if that is how many there are.
fn subset(set: &Pictures, count: usize, seed: u64) -> Pictures {
    if count == set.len() {
        return set.clone();
    }
    let order = Address::new(seed, Purpose::Measure).permutation(set.len());
    set.select(&order[..count])
}

#[inline(always)]
fn squared(a: &[u8], b: &[u8]) -> u64 {
    let mut sum = 0;
    for (a, b) in a.iter().zip(b) {
        let difference = i32::from(*a) - i32::from(*b);
        sum += (difference * difference) as u32;
    }
    u64::from(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::read;

    fn set(shape: [usize; 3], bytes: &[u8]) -> Pictures {
        Pictures { shape, bytes: bytes.to_vec() }
    }

    #[test]
    fn distances_by_hand() {
        // (0, 255) is 255 from (0, 0) and 255 sqrt 2 from (255, 0); (255, 0) is in the set.
        let pictures = set([1, 2, 1], &[0, 0, 255, 0]);
        let samples = set([1, 2, 1], &[0, 255, 255, 0]);
        assert_eq!(nearest(&samples, &pictures).unwrap(), [255 * 255, 0]);
        assert_eq!(mean_distance(&[255 * 255, 0]), 0.5);
        // Far apart in more bytes than 32 bits can add up.
        const LARGE: usize = 1 << 16;
        let large = [1, LARGE + 1, 2];
        let (black, white) = (vec![0; 2 * LARGE + 2], vec![255; 2 * LARGE + 2]);
        let far = nearest(&set(large, &black), &set(large, &white)).unwrap();
        assert_eq!(far, [255 * 255 * (2 * LARGE as u64 + 2)]);
    }

    #[test]
    fn the_nearest_is_that_of_a_plain_search() {
        let (samples, pictures) = (read("digits:test").unwrap(), read("digits:train").unwrap());
        let found = nearest(&samples, &pictures).unwrap();
        for i in [0, 15, 16, 359] {
            let sample = &samples.bytes[i * 64..(i + 1) * 64];
            let distance = |picture: &[u8]| -> u64 {
                let pairs = sample.iter().zip(picture);
                pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
            };
            assert_eq!(Some(found[i]), pictures.bytes.chunks_exact(64).map(distance).min());
        }
    }

    #[test]
    fn remembered_pictures_show_and_new_ones_do_not() {
        let (train, held_out) = (read("digits:train").unwrap(), read("digits:test").unwrap());
        let copied = memorisation(&train.select(&[3, 77, 1000]), &train, &held_out, 0).unwrap();
        assert_eq!((copied.copies, copied.to_train), (1.0, 0.0));
        let equal = train.select(&(0..360).collect::<Vec<_>>());
        let remembered = memorisation(&equal, &equal, &held_out, 0).unwrap();
        assert!(remembered.closer_to_train > 0.99 && remembered.to_train_equal == 0.0);
        let new = memorisation(&held_out, &train, &held_out, 0).unwrap();
        assert!(new.closer_to_train < 0.01 && new.to_held_out == 0.0 && new.copies < 0.01);
        assert!(new.to_train < new.to_train_equal, "of fewer pictures the nearest is farther");
    }

    #[test]
    fn among_random_parts_of_one_set_no_side_is_nearer() {
        let all = read("digits:train").unwrap();
        let order = Address::new(8, Purpose::Measure).permutation(all.len());
        let [samples, train, held_out] =
            [0..437, 437..1137, 1137..1437].map(|range| all.select(&order[range]));
        for (train, held_out) in [(&train, &held_out), (&held_out, &train)] {
            let share = memorisation(&samples, train, held_out, 1).unwrap().closer_to_train;
            // Four standard deviations of a share of 437.
            assert!((share - 0.5).abs() < 0.1, "{share}");
        }
    }

    #[test]
    fn other_shapes_and_nothing_are_refused() {
        let (a, b) = (set([1, 2, 1], &[1, 2]), set([2, 1, 1], &[1, 2]));
        let error = nearest(&a, &b).unwrap_err().to_string();
        assert!(error.contains("[1, 2, 1]") && error.contains("[2, 1, 1]"), "{error}");
        assert!(nearest(&a, &set([1, 2, 1], &[])).is_err());
        assert!(memorisation(&a, &a, &set([1, 2, 1], &[]), 0).is_err());
    }
}
