//! Whether two sets lie among each other: precision and recall (Kynkäänniemi et al., 2019), density and
//! coverage (Naeem et al., 2020).

use crate::{
    Error, Interval, KeptRows, Result,
    bootstrap::{interval, replicates},
};
use diff_core::progress::Progress;
use faer::{Accum, Mat, Par, linalg::matmul::matmul};
use rayon::prelude::*;
use std::ops::Range;

/// Which neighbour's distance is the radius of a picture's neighbourhood; the picture itself does not
/// count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Of precision and recall.
    pub precise: usize,
    /// Of density and coverage.
    pub dense: usize,
}

impl Default for Neighbours {
    /// Those of the papers: 3 and 5.
    fn default() -> Self {
        Neighbours { precise: 3, dense: 5 }
    }
}

/// Where two sets lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifold {
    /// Of the samples, whether each lies in the neighbourhood of a picture of the reference, its edge
    /// included.
    pub precision: Share,
    /// The same with sides exchanged.
    pub recall: Share,
    /// Of the samples, in how many neighbourhoods of the reference each lies, its edge left out, over
    /// how many there would be if both sets were equally dense.
    pub density: Share,
    /// Of the reference, whether each neighbourhood holds a sample, its edge left out.
    pub coverage: Share,
}

/// A number for every picture of a set, and their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    of_picture: Vec<f64>,
}

impl Share {
    /// The mean.
    pub fn value(&self) -> f64 {
        self.of_picture.iter().sum::<f64>() / self.of_picture.len() as f64
    }

    /// Where the mean of as many other pictures would fall among the same neighbourhoods; none without
    /// resamples.
    pub fn interval(&self, bootstrap: usize, seed: u64) -> Option<Interval> {
        let n = self.of_picture.len();
        let mean = |weights: &[u32]| {
            let weighted = self.of_picture.iter().zip(weights).map(|(v, w)| v * f64::from(*w));
            Ok(weighted.sum::<f64>() / n as f64)
        };
        interval(self.value(), &replicates(n, bootstrap, seed, mean).unwrap_or_default())
    }
}

/// Compares the sets in three passes over their pairs. What is kept grows with the number of pictures and
/// not with that of pairs.
///
/// # Errors
/// When a set has too few pictures for a neighbour of that number, or the widths differ.
pub fn manifold(samples: &KeptRows, reference: &KeptRows, with: Neighbours) -> Result<Manifold> {
    if samples.width() != reference.width() {
        let (ours, theirs) = (samples.width(), reference.width());
        let message = format!("{ours} features against a reference of {theirs}");
        return Err(Error::Mismatch(message));
    }
    let least = samples.len().min(reference.len());
    for (name, k) in [("--neighbours", with.precise), ("--dense-neighbours", with.dense)] {
        if !(1..least).contains(&k) {
            let expected = format!(
                "at least 1 and less than {least}, the number of pictures of the smaller set"
            );
            return Err(diff_core::Error::argument(name, k, expected).into());
        }
    }
    let (samples, reference) = (&Norms::of(samples), &Norms::of(reference));
    let blocks = (2 * samples.blocks().len() + reference.blocks().len()) as u64;
    let mut passes = Passes { progress: Progress::new(blocks, "blocks of pairs"), done: 0 };
    let of_samples = passes.radii(samples, &[with.precise]);
    let of_reference = passes.radii(reference, &[with.precise, with.dense]);
    let found =
        passes.across(samples, reference, [&of_samples[0], &of_reference[0], &of_reference[1]]);
    passes.progress.finish();
    let truths =
        |of: &[bool]| Share { of_picture: of.iter().map(|v| f64::from(u8::from(*v))).collect() };
    let counts = found.neighbourhoods.iter().map(|n| f64::from(*n) / with.dense as f64);
    let covered: Vec<bool> = found
        .nearest
        .iter()
        .zip(&of_reference[1])
        .map(|(nearest, radius)| nearest < radius)
        .collect();
    Ok(Manifold {
        precision: truths(&found.precise),
        recall: truths(&found.recalled),
        density: Share { of_picture: counts.collect() },
        coverage: truths(&covered),
    })
}

/// Rows with their squared norms.
struct Norms<'a> {
    rows: &'a KeptRows,
    squares: Vec<f64>,
}

/// Rows that are compared with as many others at a time.
const BLOCK: usize = 256;

impl<'a> Norms<'a> {
    fn of(rows: &'a KeptRows) -> Self {
        let square = |i| rows.row(i).iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        Norms { rows, squares: (0..rows.len()).into_par_iter().map(square).collect() }
    }

    fn blocks(&self) -> Vec<Range<usize>> {
        let n = self.rows.len();
        (0..n).step_by(BLOCK).map(|first| first..n.min(first + BLOCK)).collect()
    }

    /// Some rows as columns.
    fn columns(&self, range: &Range<usize>) -> Mat<f64> {
        Mat::from_fn(self.rows.width(), range.len(), |feature, i| {
            f64::from(self.rows.row(range.start + i)[feature])
        })
    }
}

/// Squared distances of all pairs of two blocks, `[others, ours]`.
fn distances(
    (a, ours, columns): (&Norms, &Range<usize>, &Mat<f64>),
    (b, theirs): (&Norms, &Range<usize>),
) -> Mat<f64> {
    let mut found = Mat::zeros(theirs.len(), ours.len());
    let others = b.columns(theirs);
    matmul(&mut found, Accum::Replace, others.transpose(), columns, -2.0, Par::Seq);
    for (i, left) in ours.clone().enumerate() {
        for (j, right) in theirs.clone().enumerate() {
            let scale = a.squares[left] + b.squares[right];
            let square = found[(j, i)] + scale;
            // Rows that are nearly equal: their difference is taken itself, as here it would drown in
            // rounding. Equal ones are then at no distance at all.
            found[(j, i)] = match square > 1e-6 * scale {
                true => square,
                false => {
                    let pairs = a.rows.row(left).iter().zip(b.rows.row(right));
                    pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
                }
            };
        }
    }
    found
}

/// What comes of pairs of a sample and a picture of the reference.
#[derive(Default)]
struct Found {
    precise: Vec<bool>,
    neighbourhoods: Vec<u32>,
    recalled: Vec<bool>,
    nearest: Vec<f64>,
}

/// Passes over pairs, with their progress.
struct Passes {
    progress: Progress,
    done: u64,
}

impl Passes {
    /// For every number of a neighbour, its squared distance from every row.
    fn radii(&mut self, set: &Norms, neighbours: &[usize]) -> Vec<Vec<f64>> {
        let most = neighbours.iter().copied().max().unwrap_or(0);
        let of_block = |block: &Range<usize>| -> Vec<Vec<f64>> {
            let columns = set.columns(block);
            let mut nearest = vec![Vec::with_capacity(most + 1); block.len()];
            for others in set.blocks() {
                let found = distances((set, block, &columns), (set, &others));
                for (i, nearest) in nearest.iter_mut().enumerate() {
                    for (j, square) in found.col(i).iter().enumerate() {
                        if block.start + i != others.start + j {
                            keep_least(nearest, *square, most);
                        }
                    }
                }
            }
            nearest
        };
        let mut nearest = Vec::with_capacity(set.rows.len());
        self.in_blocks(set, of_block, |some| nearest.extend(some));
        neighbours.iter().map(|k| nearest.iter().map(|of| of[k - 1]).collect()).collect()
    }

    /// All pairs; `radii` are the squared ones of samples, of the reference, and the dense ones of it.
    fn across(&mut self, samples: &Norms, reference: &Norms, radii: [&[f64]; 3]) -> Found {
        let [of_samples, of_reference, dense] = radii;
        let theirs = reference.rows.len();
        let of_block = |block: &Range<usize>| {
            let columns = samples.columns(block);
            let mut part = Found {
                precise: vec![false; block.len()],
                neighbourhoods: vec![0; block.len()],
                recalled: vec![false; theirs],
                nearest: vec![f64::INFINITY; theirs],
            };
            for others in reference.blocks() {
                let found = distances((samples, block, &columns), (reference, &others));
                for (i, sample) in block.clone().enumerate() {
                    for (square, j) in found.col(i).iter().zip(others.clone()) {
                        part.precise[i] |= *square <= of_reference[j];
                        part.neighbourhoods[i] += u32::from(*square < dense[j]);
                        part.recalled[j] |= *square <= of_samples[sample];
                        part.nearest[j] = part.nearest[j].min(*square);
                    }
                }
            }
            part
        };
        let mut all = Found {
            recalled: vec![false; theirs],
            nearest: vec![f64::INFINITY; theirs],
            ..Found::default()
        };
        self.in_blocks(samples, of_block, |part| {
            all.precise.extend(part.precise);
            all.neighbourhoods.extend(part.neighbourhoods);
            all.recalled.iter_mut().zip(part.recalled).for_each(|(all, one)| *all |= one);
            all.nearest.iter_mut().zip(part.nearest).for_each(|(all, one)| *all = all.min(one));
        });
        all
    }

    /// Hands what `work` makes of every block of a set to `take`, in order.
    fn in_blocks<T: Send>(
        &mut self,
        set: &Norms,
        work: impl Fn(&Range<usize>) -> T + Sync,
        mut take: impl FnMut(T),
    ) {
        for some in set.blocks().chunks(4 * rayon::current_num_threads()) {
            let made: Vec<T> = some.par_iter().map(&work).collect();
            made.into_iter().for_each(&mut take);
            self.done += some.len() as u64;
            self.progress.update(self.done as f64, "compared");
        }
    }
}

/// Keeps the `most` least of what comes, in order.
fn keep_least(least: &mut Vec<f64>, value: f64, most: usize) {
    if least.len() == most && least.last().is_none_or(|last| value >= *last) {
        return;
    }
    let at = least.partition_point(|known| *known <= value);
    least.insert(at, value);
    least.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rows;
    use diff_core::rng::{Address, Purpose};

    fn rows(width: usize, values: &[f64]) -> KeptRows {
        let rows = Rows::new(width, values.to_vec()).unwrap();
        let places: Vec<u64> = (0..rows.len() as u64).collect();
        let mut kept = KeptRows::default();
        kept.add_at(&places, &rows).unwrap();
        kept
    }

    fn noise(n: usize, width: usize, mean: f64, index: u64) -> KeptRows {
        let mut z = vec![0f32; n * width];
        Address::new(23, Purpose::Measure).index(index).fill_normal(&mut z);
        rows(width, &z.iter().map(|v| f64::from(*v) + mean).collect::<Vec<_>>())
    }

    fn values(of: &Manifold) -> [f64; 4] {
        [&of.precision, &of.recall, &of.density, &of.coverage].map(Share::value)
    }

    #[test]
    fn points_on_a_line_by_hand() {
        let reference = rows(1, &[0.0, 1.0, 3.0, 10.0]);
        let samples = rows(1, &[2.0, 4.0, 20.0, 17.0]);
        // Radii of the reference: 1, 1, 2, 7; of the samples: 2, 2, 3, 3.
        let found = manifold(&samples, &reference, Neighbours { precise: 1, dense: 1 }).unwrap();
        // 2 (of 1, on the edge), 4 (of 3) and 17 (of 10, on the edge) are in; 20 is not.
        assert_eq!(found.precision.of_picture, [1.0, 1.0, 0.0, 1.0]);
        // 0 (of 2, on the edge), 1 and 3 are in; 10 is not.
        assert_eq!(found.recall.of_picture, [1.0, 1.0, 1.0, 0.0]);
        // Without edges: 2 is in 3's, 4 in 3's and 10's.
        assert_eq!(found.density.of_picture, [1.0, 2.0, 0.0, 0.0]);
        assert_eq!(found.coverage.of_picture, [0.0, 0.0, 1.0, 1.0]);
        // Radii of the second neighbour: 3, 2, 3, 9.
        let found = manifold(&samples, &reference, Neighbours { precise: 1, dense: 2 }).unwrap();
        assert_eq!(found.density.of_picture, [2.0, 1.0, 0.0, 0.5]);
    }

    #[test]
    fn blocks_and_their_edges_change_nothing() {
        let (n, m) = (2 * BLOCK + 3, BLOCK + 1);
        let (samples, reference) = (noise(n, 5, 0.3, 0), noise(m, 5, 0.0, 1));
        let with = Neighbours { precise: 3, dense: 5 };
        let found = manifold(&samples, &reference, with).unwrap();
        // The definition, pair by pair.
        let square = |a: &KeptRows, i: usize, b: &KeptRows, j: usize| -> f64 {
            let pairs = a.row(i).iter().zip(b.row(j));
            pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let radius = |set: &KeptRows, i: usize, k: usize| {
            let mut all: Vec<f64> =
                (0..set.len()).filter(|j| *j != i).map(|j| square(set, i, set, j)).collect();
            all.sort_by(f64::total_cmp);
            all[k - 1]
        };
        let radii =
            |set: &KeptRows, k| (0..set.len()).map(|i| radius(set, i, k)).collect::<Vec<_>>();
        let (ours, theirs, dense) =
            (radii(&samples, 3), radii(&reference, 3), radii(&reference, 5));
        let truth = |is: bool| f64::from(u8::from(is));
        for i in 0..n {
            let to = |j| square(&samples, i, &reference, j);
            assert_eq!(found.precision.of_picture[i], truth((0..m).any(|j| to(j) <= theirs[j])));
            let count = (0..m).filter(|j| to(*j) < dense[*j]).count();
            assert_eq!(found.density.of_picture[i], count as f64 / 5.0);
        }
        for (j, radius) in dense.iter().enumerate() {
            let from = |i| square(&samples, i, &reference, j);
            assert_eq!(found.recall.of_picture[j], truth((0..n).any(|i| from(i) <= ours[i])));
            assert_eq!(found.coverage.of_picture[j], truth((0..n).any(|i| from(i) < *radius)));
        }
        let [precision, recall, _, coverage] = values(&found);
        assert!(
            precision > 0.3 && precision < 1.0 && recall > 0.3 && recall < 1.0 && coverage < 1.0
        );
    }

    #[test]
    fn a_set_covers_itself_and_equal_rows_are_at_no_distance() {
        let set = noise(300, 40, 1e3, 2);
        let [precision, recall, density, coverage] =
            values(&manifold(&set, &set, Neighbours::default()).unwrap());
        assert_eq!([precision, recall, coverage], [1.0; 3]);
        // A picture is in its own neighbourhood, and in those of about five others less their edges.
        assert!((0.9..1.1).contains(&density), "{density}");
        // One point over and over: a radius of 0, whose edge is the point itself.
        let point = rows(3, &[0.1, 1e4, -7.3].repeat(9));
        assert_eq!(
            values(&manifold(&point, &point, Neighbours::default()).unwrap()),
            [1.0, 1.0, 0.0, 0.0]
        );
    }

    #[test]
    fn a_share_has_an_interval_and_too_few_pictures_are_refused() {
        let (a, b) = (noise(60, 2, 0.0, 3), noise(50, 2, 1.0, 4));
        let found = manifold(&a, &b, Neighbours::default()).unwrap();
        let Interval { low, high } = found.precision.interval(200, 0).unwrap();
        let p = found.precision.value();
        let width = 2.0 * 1.96 * (p * (1.0 - p) / 60.0).sqrt();
        assert!(((high - low) / width - 1.0).abs() < 0.3, "{low} {high} {width}");
        assert_eq!(found.precision.interval(0, 0), None);
        let error = |precise, dense| {
            manifold(&a, &b, Neighbours { precise, dense }).unwrap_err().to_string()
        };
        assert!(
            error(50, 5).contains("--neighbours = 50") && error(50, 5).contains("less than 50")
        );
        assert!(error(3, 0).contains("--dense-neighbours = 0"));
        let wide = noise(60, 3, 0.0, 3);
        let other = manifold(&wide, &b, Neighbours::default()).unwrap_err().to_string();
        assert!(other.contains("3 features against a reference of 2"), "{other}");
    }
}
