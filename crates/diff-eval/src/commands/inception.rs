//! The feature space of a command, and how its measures are taken.

use clap::Args;
use diff_eval::{
    ClassifierFeatures, Features, KidSettings, Neighbours, NetworkFeatures, SplitOrder,
    measures::MeasureSettings, space,
};
use diff_models::device;
use diff_train::data::DataConfig;

#[derive(Args)]
pub(super) struct InceptionArgs {
    /// Weights of the network: a file, or `hub:org/name[@revision]:FILE`. They must be the published ones
    /// (their SHA-256 is checked).
    #[arg(long, value_name = "FILE", conflicts_with = "classifier")]
    weights: Option<String>,
    /// SHA-256 of other weights that are meant; results are then called FD, CS and KD, never FID.
    #[arg(long, value_name = "HEX", requires = "weights")]
    weights_sha256: Option<String>,
    /// Whose features: pytorch-fid and torch-fidelity (Inception-v3, resized their way), or vgg16
    /// [default: that of the package that most published numbers were made with].
    #[arg(long, value_name = "NAME", conflicts_with = "classifier")]
    mode: Option<String>,
    /// Features of a classifier of our own instead: a checkpoint folder, a run, or `hub:org/name`.
    #[arg(long, value_name = "SPEC")]
    classifier: Option<String>,
    /// Pictures that go through the network at a time. Changes nothing but speed and memory.
    #[arg(long, default_value_t = 32, value_name = "N")]
    batch: usize,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

impl InceptionArgs {
    pub(super) fn device(&self) -> anyhow::Result<candle_core::Device> {
        Ok(device::open(&self.device)?)
    }

    /// The space, by default in this mode.
    pub(super) fn open(&self, mode: &str) -> anyhow::Result<Box<dyn Features>> {
        let device = self.device()?;
        if let Some(spec) = &self.classifier {
            return Ok(Box::new(ClassifierFeatures::open(spec, &device)?));
        }
        let space = space(self.mode.as_deref().unwrap_or(mode))?;
        let weights = self.weights.as_deref().ok_or_else(|| {
            let published = space.published;
            let (file, address) = (published.file, published.address);
            let expected =
                format!("{file}, which {address} has, or --classifier for features of our own");
            diff_core::Error::argument("--weights", "nothing", expected)
        })?;
        let expected = self.weights_sha256.as_deref();
        let how = (self.batch, &device);
        Ok(Box::new(NetworkFeatures::open(space, weights, expected, how)?))
    }
}

#[derive(Args)]
pub(super) struct HowArgs {
    /// Resamples that intervals are made of; 0 for none, which also keeps memory from growing with the
    /// number of pictures.
    #[arg(long, default_value_t = 40, value_name = "N")]
    bootstrap: usize,
    /// Seed of resamples and of subsets but those of KID.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Look at the reference again, whatever is known of it.
    #[arg(long)]
    no_cache: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

impl HowArgs {
    pub(super) fn settings(&self) -> anyhow::Result<MeasureSettings> {
        let cache = match self.no_cache {
            true => None,
            false => Some(DataConfig::default().cache_root()?.join("statistics")),
        };
        Ok(MeasureSettings {
            bootstrap: self.bootstrap,
            seed: self.seed,
            order: SplitOrder::default(),
            kid: KidSettings::default(),
            neighbours: Neighbours::default(),
            cache,
        })
    }
}

#[derive(Args)]
pub(super) struct SplitArgs {
    /// Parts that the Inception Score is taken of, of the pictures shuffled as torch-fidelity does.
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "split_size")]
    splits: usize,
    /// Consecutive parts of so many pictures instead, as guided-diffusion takes it (5000).
    #[arg(long, value_name = "N")]
    split_size: Option<usize>,
}

impl SplitArgs {
    pub(super) fn order(&self) -> SplitOrder {
        match self.split_size {
            Some(size) => SplitOrder::Consecutive(size),
            None => SplitOrder::Shuffled { splits: self.splits, seed: SHUFFLE },
        }
    }
}

/// torch-fidelity's seed.
const SHUFFLE: u32 = 2020;

#[derive(Args)]
pub(super) struct SubsetArgs {
    /// Subsets that KID is the mean of.
    #[arg(long, default_value_t = 100, value_name = "N")]
    kid_subsets: usize,
    /// Pictures of a subset.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    kid_size: usize,
    /// Seed of the subsets, which are then torch-fidelity's.
    #[arg(long, default_value_t = 2020)]
    kid_seed: u32,
}

impl SubsetArgs {
    pub(super) fn settings(&self) -> KidSettings {
        KidSettings { subsets: self.kid_subsets, size: self.kid_size, seed: self.kid_seed }
    }
}

#[derive(Args)]
pub(super) struct NeighbourArgs {
    /// Precision and recall: which neighbour's distance is the radius.
    #[arg(long, default_value_t = 3, value_name = "K")]
    neighbours: usize,
    /// Density and coverage: which neighbour's.
    #[arg(long, default_value_t = 5, value_name = "K")]
    dense_neighbours: usize,
}

impl NeighbourArgs {
    pub(super) fn apply(&self, settings: &mut MeasureSettings) {
        settings.neighbours = Neighbours { precise: self.neighbours, dense: self.dense_neighbours };
    }
}
