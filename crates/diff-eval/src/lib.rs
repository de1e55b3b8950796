//! Judges samples. A measure is called by the space it is taken in: statistics of pixels are
//! statistics of pixels, never an FID.

mod bootstrap;
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
mod observe;
pub mod pictures;
mod pixel_distance;
mod pixels;
mod quality;
mod reconstruction;
mod score;
pub mod select;
mod source;
mod statistics;

pub use bootstrap::{Interval, interval, replicates, resample};
pub use error::{Error, Result};
pub use features::{
    ClassifierFeatures, Features, NetworkFeatures, Published, Rows, SPACES, Seen, Space, SpaceId,
    space,
};
pub use floor::{Floor, floor};
pub use frechet::{Frechet, FrechetReference, frechet};
pub use judge::{Distances, Judge, Replicates, Settings};
pub use metric::Metric;
pub use moments::{Gaussian, Moments};
pub use neighbours::{Memorisation, mean_distance, memorisation, nearest};
pub use observe::{Account, Observed, SIZES, observe};
pub use pixel_distance::{MOST_VALUES, PixelDistance, pixel_distance};
pub use pixels::{PixelMoments, PixelReport, compare};
pub use quality::{PicturesId, Provenance, Quality, quality};
pub use reconstruction::{
    Pair, PairError, PairErrors, Reconstruction, ReconstructionRequest, STEPS, reconstruct,
};
pub use score::{ClassifierScore, SplitScores, classifier_score, split_scores, weighted_score};
pub use source::{MadeBy, PictureSource};
pub use statistics::{About, Statistics, Tap};
