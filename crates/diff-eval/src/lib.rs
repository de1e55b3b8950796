//! Judges samples. A measure is called by the space it is taken in: statistics of pixels are
//! statistics of pixels, never an FID.

mod account;
mod bootstrap;
mod error;
mod features;
mod fid_infinity;
mod floor;
mod frechet;
pub mod gap;
mod inception_score;
mod judge;
mod kept;
mod kid;
pub mod likelihood;
mod manifold;
pub mod measures;
mod metric;
mod moments;
mod neighbours;
mod numpy_random;
mod observe;
mod paired;
pub mod pictures;
mod pixel_distance;
mod pixels;
mod quality;
mod reconstruction;
mod score;
pub mod select;
mod source;
mod statistics;
mod tally;

pub use account::{Account, SIZES};
pub use bootstrap::{Interval, interval, replicates, resample};
pub use error::{Error, Result};
pub use features::{
    ClassifierFeatures, Features, NetworkFeatures, Published, Rows, SPACES, Seen, Space, SpaceId,
    space,
};
pub use fid_infinity::{Infinity, POINTS, fid_infinity};
pub use floor::{Floor, floor};
pub use frechet::{Frechet, FrechetReference, frechet};
pub use inception_score::{SplitOrder, SplitScore};
pub use judge::{Distances, Judge, Replicates, Settings};
pub use kept::KeptRows;
pub use kid::{Kid, KidSettings, kid};
pub use manifold::{Manifold, Neighbours, Share, manifold};
pub use metric::Metric;
pub use moments::{Gaussian, Moments};
pub use neighbours::{Memorisation, mean_distance, memorisation, nearest};
pub use observe::{Observed, observe};
pub use paired::{Paired, PairedBasis, paired};
pub use pixel_distance::{MOST_VALUES, PixelDistance, pixel_distance};
pub use pixels::{PixelMoments, PixelReport, compare};
pub use quality::{PicturesId, Provenance, Quality, quality};
pub use reconstruction::{
    Pair, PairError, PairErrors, Reconstruction, ReconstructionRequest, STEPS, reconstruct,
};
pub use score::{ClassifierScore, SplitScores, classifier_score, split_scores, weighted_score};
pub use source::{MadeBy, PictureSource};
pub use statistics::{About, Statistics, Tap};
pub use tally::{Needs, Tallied, Tally};
