//! The operations networks are built from.
//!
//! All of them take and return contiguous channels-last tensors `[B, H, W, C]` (or rows
//! `[..., C]`) in f32 or f64, are differentiable in every tensor argument, and give row i of a
//! batch the same bits whatever the batch holds besides. candle has operations that cut the
//! gradient or compute a wrong one without an error (`softmax_last_dim`, `layer_norm`,
//! `upsample_nearest2d`, pooling); none of those is used here.

mod activation;
mod add;
mod attention;
mod concat;
mod conv;
mod cpu;
mod dropout;
mod embedding;
mod geglu;
mod graph;
mod layer_norm;
mod linear;
mod norm;
mod pool;
mod prepared;
mod process;
mod profile;
mod resample;
mod resize;
mod rows;
mod subpixel;
mod unit_distance;
mod update;

pub use activation::silu;
pub use add::{add, scale};
pub use attention::{QkvOrder, attention, self_attention, softmax};
pub use concat::concat;
pub use conv::{Algorithm, ConvGeometry, Convolution, Extra, conv2d};
pub use dropout::dropout;
pub use embedding::{TimeEmbedding, embedding, timestep_embedding};
pub use geglu::geglu;
pub use graph::{Derivatives, backward, record};
pub use layer_norm::layer_norm;
pub use linear::{Affine, linear};
pub use norm::{GroupNormSpec, group_norm, group_norm_scale_shift_silu, group_norm_silu};
pub use pool::{Windows, average_pool, max_pool};
pub use prepared::Prepared;
pub use process::{settle, within};
pub use profile::{OpTime, Pass, Profile, peak_flops, profile};
pub use resample::{downsample_average2x, upsample_nearest2x};
pub use resize::{PixelGrid, resize_bilinear};
pub use rows::{affine_rows, spread_heads};
pub use subpixel::conv_transpose2x;
pub use unit_distance::unit_distance;
pub use update::{sum_of_squares, update};

use crate::error::{Error, Result};
use candle_core::Tensor;

/// The four dimensions of a channels-last tensor.
fn bhwc(op: &str, x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    x.dims4().map_err(|_| Error::Input(format!("{op}: expected [B, H, W, C], got {:?}", x.dims())))
}

/// An error naming the operation and the two shapes that do not fit.
fn mismatch(op: &str, x: &Tensor, name: &str, other: &Tensor) -> Error {
    Error::Input(format!(
        "{op}: {name} of shape {:?} does not fit input {:?}",
        other.dims(),
        x.dims()
    ))
}
