//! Networks. Parameter names, their order and their first values are PyTorch's.

pub mod adm;
mod architecture;
mod catalogue;
mod categorical;
mod check;
mod classes;
mod classifier;
pub mod dddm;
pub mod features;
pub mod heads;
mod layers;
mod network;
mod resampling;
mod spec;
pub mod study;
mod times;
pub mod unet;

pub use architecture::{Architecture, Config, Family};
pub use catalogue::{Catalogue, Entry, Preset};
pub use categorical::{Categorical, CategoricalSpec};
pub use classes::Classes;
pub use classifier::{Classifier, ClassifierSpec, Judgement};
pub use layers::{Conv2d, ConvTranspose2x, Embedding, GroupNorm, LayerNorm, Linear};
pub use network::{Network, NetworkDenoiser, PredictionType, SecondType};
pub use spec::DdpmSpec;
