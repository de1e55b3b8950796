//! Networks. Parameter names, their order and their first values are PyTorch's.

mod layers;
mod spec;
pub mod unet;

pub use layers::{Conv2d, Embedding, GroupNorm, Linear};
pub use spec::DdpmSpec;
