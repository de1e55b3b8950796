//! Judges samples. A measure is called by the space it is taken in: statistics of pixels are
//! statistics of pixels, never an FID.

mod bootstrap;
mod classifier;
mod error;
mod features;
mod floor;
mod frechet;
pub mod gap;
mod judge;
pub mod likelihood;
mod metric;
mod moments;
mod neighbours;
pub mod pictures;
mod pixel_distance;
mod pixels;
mod quality;
mod reconstruction;
mod score;
pub mod select;

pub use bootstrap::{Interval, interval, replicates, resample};
pub use classifier::ClassifierFeatures;
pub use error::{Error, Result};
pub use features::{Features, Rows, Seen};
pub use floor::{Floor, floor};
pub use frechet::{Frechet, FrechetReference, frechet};
pub use judge::{Distances, Judge, Replicates, Settings};
pub use metric::Metric;
pub use moments::{Gaussian, Moments};
pub use neighbours::{Memorisation, mean_distance, memorisation, nearest};
pub use pixel_distance::{MOST_VALUES, PixelDistance, pixel_distance};
pub use pixels::{PixelMoments, PixelReport, compare};
pub use quality::{PicturesId, Provenance, Quality, SpaceId, quality};
pub use reconstruction::{
    Pair, PairError, PairErrors, Reconstruction, ReconstructionRequest, STEPS, reconstruct,
};
pub use score::{ClassifierScore, SplitScores, classifier_score, split_scores, weighted_score};
