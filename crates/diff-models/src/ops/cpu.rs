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

/// The forward pass of an operation on a tensor and its weight and bias, in f32 or f64.
pub(super) trait Forward {
    /// The result, row-major.
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T>;

    /// [`Forward::forward`] on candle's storages, which must be contiguous and of one type.
    fn on_storage(
        &self,
        (x, lx): (&CpuStorage, &Layout),
        (weight, lw): (&CpuStorage, &Layout),
        (bias, lb): (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        Ok(match x {
            CpuStorage::F32(_) => {
                CpuStorage::F32(self.forward(slice(x, lx)?, slice(weight, lw)?, slice(bias, lb)?))
            }
            _ => CpuStorage::F64(self.forward(slice(x, lx)?, slice(weight, lw)?, slice(bias, lb)?)),
        })
    }
}

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
