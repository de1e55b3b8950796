//! Networks that pictures are compared by: those of the published metrics, for inference.

mod alexnet;
mod inception;
mod lpips;
mod registry;
mod squeezenet;
mod stack;
mod vgg16;

pub use alexnet::alexnet;
pub use inception::Inception;
pub use lpips::{Lpips, LpipsConfig, Trunk};
pub use registry::{DISTANCES, FeatureKind, KINDS};
pub use squeezenet::squeezenet;
pub use stack::Stack;
pub use vgg16::Vgg16;

use crate::error::{Error, Result};
use candle_core::Tensor;
use std::fmt::Debug;

/// A network that gives what it makes of pictures on the way, by name.
pub trait FeatureNetwork: Debug + Send + Sync {
    /// What it can give, in the order in which it comes to it.
    fn taps(&self) -> Vec<Tap>;

    /// What it makes of `x` `[B, H, W, 3]` in [-1, 1]: a tensor for every name of `wanted`, in their
    /// order, all of them among its taps. The network runs no further than it has to.
    ///
    /// # Errors
    /// When the pictures are too small.
    fn activations(&self, x: &Tensor, wanted: &[&str]) -> Result<Vec<Tensor>>;

    /// Multiply-adds of a picture of `height` x `width`, all the way.
    fn multiply_adds(&self, height: usize, width: usize) -> u64;

    /// [`FeatureNetwork::activations`] of `x` `[B, 3, H, W]`.
    ///
    /// # Errors
    /// When `x` has another shape, the pictures are too small, or there is no tap of a name.
    fn forward(&self, x: &Tensor, wanted: &[&str]) -> Result<Vec<Tensor>> {
        let taps = self.taps();
        if let Some(name) = wanted.iter().find(|name| taps.iter().all(|tap| tap.name != **name)) {
            let names: Vec<&str> = taps.iter().map(|tap| tap.name).collect();
            return Err(Error::unsupported("tap", name, names.join(", ")));
        }
        self.activations(&channels_last(x)?, wanted)
    }
}

/// Something a network can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// What it is called.
    pub name: &'static str,
    /// Channels of the map `[B, h, w, C]`, or numbers of the row `[B, C]`.
    pub channels: usize,
}

/// `[B, 3, H, W]` as `[B, H, W, 3]`.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    match x.dims() {
        [_, 3, _, _] => Ok(x.permute((0, 2, 3, 1))?.contiguous()?),
        found => Err(Error::Input(format!("x: expected [B, 3, H, W], got {found:?}"))),
    }
}

/// From [-1, 1] to what networks of torchvision were trained on: the mean and deviation of ImageNet's
/// pictures taken out, channel by channel. `x` is `[B, H, W, 3]`.
fn imagenet(x: &Tensor) -> Result<Tensor> {
    const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
    const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
    let channels = |values: [f32; 3]| Tensor::new(&values, x.device())?.to_dtype(x.dtype());
    Ok(x.broadcast_sub(&channels(SHIFT)?)?.broadcast_div(&channels(SCALE)?)?)
}
