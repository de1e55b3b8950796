//! The convolution on the CPU. Windows are gathered anew for the gradient instead of being kept:
//! they take nine times the memory of the image.

use super::windows::Plan;
use crate::ops::{
    matmul,
    transpose::{slice, transpose},
};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, Device, Error, Layout, Result, Shape, Tensor, WithDType,
};

/// image, weight `[O, I, kh, kw]`, bias `[O]` to `[B, rows, columns, O]`.
pub(super) struct Convolution(pub(super) Plan);

/// [`Plan::gather`] on tensors.
struct Gather(Plan);

/// [`Plan::scatter`] on tensors.
struct Scatter(Plan);

impl Convolution {
    fn forward<T: WithDType>(&self, x: &[T], weight: &[T], bias: &[T]) -> Result<Vec<T>> {
        let plan = self.0;
        let windows =
            Tensor::from_vec(plan.gather(x), (plan.count(), plan.window()), &Device::Cpu)?;
        let (kh, kw) = plan.kernel;
        let weight = Tensor::from_slice(weight, (bias.len(), plan.channels, kh, kw), &Device::Cpu)?;
        let mut out =
            matmul(&windows, &matrix(&weight)?).map_err(wrap)?.flatten_all()?.to_vec1::<T>()?;
        for row in out.chunks_exact_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += *bias);
        }
        Ok(out)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use CpuStorage::{F32, F64};
        let storage = match (x, w, b) {
            (F32(x), F32(w), F32(b)) => {
                F32(self.forward(slice(x, x_layout)?, slice(w, w_layout)?, slice(b, b_layout)?)?)
            }
            (F64(x), F64(w), F64(b)) => {
                F64(self.forward(slice(x, x_layout)?, slice(w, w_layout)?, slice(b, b_layout)?)?)
            }
            _ => candle_core::bail!("conv2d: expected image, weight and bias all f32 or all f64"),
        };
        let Plan { batch, rows, columns, .. } = self.0;
        Ok((storage, Shape::from((batch, rows, columns, b_layout.shape().elem_count()))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let plan = self.0;
        let (outputs, inputs, kh, kw) = weight.dims4()?;
        let (x, weight) = (x.detach(), weight.detach());
        let grad = grad.detach().contiguous()?.reshape((plan.count(), outputs))?;

        let windows = x.contiguous()?.apply_op1_no_bwd(&Gather(plan))?;
        // [taps * I, O] back to [O, I, taps].
        let of_matrix = windows.t()?.matmul(&grad)?;
        let of_matrix =
            of_matrix.reshape((kh * kw, inputs, outputs))?.transpose(0, 1)?.contiguous()?;
        let of_weight =
            transpose(&of_matrix.reshape((inputs * kh * kw, outputs))?).map_err(wrap)?;
        drop(windows);

        let of_windows = grad.matmul(&matrix(&weight)?.t()?)?;
        let of_x = of_windows.apply_op1_no_bwd(&Scatter(plan))?;

        // A product with ones: candle's own sum over rows is slow.
        let ones = Tensor::ones((2, plan.count()), grad.dtype(), grad.device())?;
        let of_bias = ones.matmul(&grad)?.get(0)?;
        Ok((Some(of_x), Some(of_weight.reshape(weight.shape())?), Some(of_bias)))
    }
}

/// `[O, I, kh, kw]` to `[kh * kw * I, O]`.
fn matrix(weight: &Tensor) -> Result<Tensor> {
    let (outputs, inputs, kh, kw) = weight.dims4()?;
    let rows = transpose(&weight.reshape((outputs, inputs * kh * kw))?).map_err(wrap)?;
    let taps_first = rows.reshape((inputs, kh * kw, outputs))?.transpose(0, 1)?.contiguous()?;
    taps_first.reshape((kh * kw * inputs, outputs))
}

fn wrap(error: crate::Error) -> Error {
    Error::wrap(error)
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather windows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = match x {
            CpuStorage::F32(x) => CpuStorage::F32(self.0.gather(slice(x, layout)?)),
            CpuStorage::F64(x) => CpuStorage::F64(self.0.gather(slice(x, layout)?)),
            _ => candle_core::bail!("conv2d: expected f32 or f64"),
        };
        Ok((storage, Shape::from((self.0.count(), self.0.window()))))
    }
}

impl CustomOp1 for Scatter {
    fn name(&self) -> &'static str {
        "scatter windows"
    }

    fn cpu_fwd(&self, windows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = match windows {
            CpuStorage::F32(windows) => CpuStorage::F32(self.0.scatter(slice(windows, layout)?)),
            CpuStorage::F64(windows) => CpuStorage::F64(self.0.scatter(slice(windows, layout)?)),
            _ => candle_core::bail!("conv2d: expected f32 or f64"),
        };
        let Plan { batch, height, width, channels, .. } = self.0;
        Ok((storage, Shape::from((batch, height, width, channels))))
    }
}
