//! Convolution on the CPU: which algorithm serves, and its gradients.

use super::{Algorithm, Sizes, direct, winograd};
use crate::{
    error::Result,
    ops::{
        Prepared,
        cpu::{Forward, Panels, Real, Values, channel_sums, tensor},
    },
};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

pub(super) struct Conv2d {
    pub(super) sizes: Sizes,
    pub(super) algorithm: Algorithm,
    pub(super) prepared: Option<Arc<Prepared>>,
    pub(super) residual: Option<Tensor>,
}

impl Conv2d {
    pub(super) fn apply(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
        Ok(x.apply_op3(&weight, &bias, self)?)
    }
}

/// Weights in the form in which an algorithm reads them.
enum Weights<T> {
    Direct(Panels<T>),
    Winograd(winograd::Plan, winograd::Weights<T>),
}

impl<T: Real> Weights<T> {
    fn new(weight: &[T], sizes: &Sizes, algorithm: Algorithm) -> Self {
        match sizes.winograd(algorithm) {
            None => Weights::Direct(direct::weights(sizes, weight)),
            Some(plan) => {
                let channels = (sizes.inputs, sizes.outputs);
                Weights::Winograd(plan, winograd::Weights::new(weight, channels, plan, false))
            }
        }
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Sizes { batch, out_image: (rows, columns), outputs, .. } = self.sizes;
        let y = self.on_storage((x, lx), (weight, lw), (bias, lb))?;
        Ok((y, Shape::from((batch, rows, columns, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, weight, bias, dy),
            _ => self.backward::<f64>(x, weight, bias, dy),
        }
    }
}

impl Forward for Conv2d {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> candle_core::Result<Vec<T>> {
        let sizes = &self.sizes;
        let residual = self.residual.as_ref().map(Values::<T>::of).transpose()?;
        let residual = residual.as_deref();
        let make = || Weights::new(weight, sizes, self.algorithm);
        let run = |weights: &Weights<T>| match weights {
            Weights::Direct(panels) => direct::forward(sizes, x, panels, bias, residual),
            Weights::Winograd(plan, weights) => {
                winograd::forward(sizes, *plan, x, weights, bias, residual)
            }
        };
        match &self.prepared {
            None => Ok(run(&make())),
            Some(prepared) => prepared.with(make, run),
        }
    }
}

impl Conv2d {
    #[allow(clippy::type_complexity)] // the signature of candle's trait
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = &self.sizes;
        let dy = dy.contiguous()?;
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dys: &[T] = &Values::of(&dy)?;
        let plan = sizes.winograd(self.algorithm);
        let dw = match plan {
            None => direct::weight_gradient(sizes, xs, dys),
            Some(plan) => winograd::weight_gradient(sizes, plan, xs, dys),
        };
        let dx = x.track_op().then(|| match plan {
            None => direct::input_gradient(sizes, ws, dys),
            Some(plan) => {
                let turned = sizes.turned();
                let channels = (turned.inputs, turned.outputs);
                let weights = winograd::Weights::new(ws, channels, plan, true);
                winograd::forward(&turned, plan, dys, &weights, &[], None)
            }
        });
        let per_image = dys.len() / sizes.batch;
        let sums: Vec<Vec<f64>> =
            dys.par_chunks(per_image).map(|dy| channel_sums(dy, sizes.outputs, |v, _| v)).collect();
        let narrowed = |sums: &[f64]| sums.iter().map(|v| T::from_f64(*v)).collect::<Vec<T>>();
        let db = match bias.rank() {
            1 => narrowed(&sums.iter().fold(vec![0.0; sizes.outputs], |mut total, sums| {
                total.iter_mut().zip(sums).for_each(|(total, v)| *total += v);
                total
            })),
            _ => sums.iter().flat_map(|sums| narrowed(sums)).collect(),
        };
        Ok((
            dx.map(|dx| tensor(dx, x.shape().clone(), x)).transpose()?,
            Some(tensor(dw, weight.shape().clone(), x)?),
            Some(tensor(db, bias.shape().clone(), x)?),
        ))
    }
}
