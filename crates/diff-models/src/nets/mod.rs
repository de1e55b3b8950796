//! Networks. Parameter names, their order and their first values are PyTorch's.

pub mod adm;
mod check;
mod classifier;
mod layers;
mod spec;
pub mod unet;

pub use classifier::{Classifier, ClassifierSpec, Judgement};
pub use layers::{Conv2d, Embedding, GroupNorm, Linear};
pub use spec::DdpmSpec;
