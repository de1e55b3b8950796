//! What the CPU paths share.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, WithDType};

/// f32 or f64.
pub(super) trait Real: WithDType + num_traits::Float {
    /// A tensor's values, row-major.
    fn values(x: &Tensor) -> Result<Vec<Self>> {
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok(slice(storage, layout)?.to_vec()),
            _ => candle_core::bail!("expected a tensor on the CPU"),
        }
    }
}

impl Real for f32 {}
impl Real for f64 {}

/// The values of a contiguous tensor.
pub(super) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// A tensor on the device of `like`.
pub(super) fn tensor<T: WithDType>(
    values: Vec<T>,
    shape: impl Into<Shape>,
    like: &Tensor,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), like.device())
}
