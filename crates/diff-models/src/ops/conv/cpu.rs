//! Convolution on the CPU: which algorithm serves, and its gradients.

use super::{Algorithm, Sizes, direct, winograd};
use crate::ops::{
    Prepared,
    activation::passed,
    cpu::{Panels, Real, Values, channel_sums, tensor},
    graph::{Operation, Step},
};
use candle_core::Tensor;
use rayon::prelude::*;
use std::{ops::Range, sync::Arc};

/// Inputs: picture, weight, bias, and perhaps a shift, and perhaps a residual.
pub(super) struct Conv2d {
    pub(super) sizes: Sizes,
    pub(super) algorithm: Algorithm,
    pub(super) rectified: bool,
    pub(super) prepared: Option<Arc<Prepared>>,
    /// Whether there is a shift.
    pub(super) shifted: bool,
}

/// What becomes of the sums of products.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a, T> {
    /// Added: `[O]`, `[B, O]` or empty.
    pub(super) bias: &'a [T],
    /// Added: a map of the result's shape.
    pub(super) residual: Option<&'a [T]>,
    /// Whether negative numbers then become zero.
    pub(super) rectified: bool,
}

impl<'a, T> Finish<'a, T> {
    /// They stay what they are.
    pub(super) fn nothing() -> Self {
        Finish { bias: &[], residual: None, rectified: false }
    }

    /// The bias of the outputs of a picture.
    #[inline(always)]
    pub(super) fn bias_of(&self, image: usize, outputs: usize) -> &'a [T] {
        match self.bias.len() > outputs {
            true => &self.bias[image * outputs..][..outputs],
            false => self.bias,
        }
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

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn keeps_output(&self) -> bool {
        self.rectified
    }

    fn parameters(&self) -> Range<usize> {
        1..3
    }

    fn multiply_adds(&self, _: &[Tensor], wanted: Option<&[bool]>) -> u64 {
        let Sizes { batch, out_image: (rows, columns), outputs, .. } = self.sizes;
        let each = batch * rows * columns * outputs * self.sizes.terms();
        each as u64 * wanted.map_or(1, |wanted| u64::from(wanted[0]) + u64::from(wanted[1]))
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let sizes = &self.sizes;
        let (x, weight): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let bias = self.bias::<T>(of)?;
        let residual = of.get(3 + usize::from(self.shifted)).map(Values::<T>::of).transpose()?;
        let (residual, rectified) = (residual.as_deref(), self.rectified);
        let finish = Finish { bias: &bias, residual, rectified };
        let make = || Weights::new(weight, sizes, self.algorithm);
        let run = |weights: &Weights<T>| match weights {
            Weights::Direct(panels) => direct::forward(sizes, x, panels, finish),
            Weights::Winograd(plan, weights) => winograd::forward(sizes, *plan, x, weights, finish),
        };
        let y = match &self.prepared {
            None => run(&make()),
            Some(prepared) => prepared.with(make, run)?,
        };
        let (rows, columns) = sizes.out_image;
        tensor(y, (sizes.batch, rows, columns, sizes.outputs), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let sizes = &self.sizes;
        let [x, weight, ..] = step.inputs else {
            candle_core::bail!("conv2d: expected a picture and a weight")
        };
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dy = match self.rectified {
            true => &passed::<T>(step.output()?, step.dy)?,
            false => step.dy,
        };
        let dys: &[T] = &Values::of(dy)?;
        let plan = sizes.winograd(self.algorithm);
        let dw = step.wanted[1].then(|| match plan {
            None => direct::weight_gradient(sizes, xs, dys),
            Some(plan) => winograd::weight_gradient(sizes, plan, xs, dys),
        });
        let dx = step.wanted[0].then(|| match plan {
            None => direct::input_gradient(sizes, ws, dys),
            Some(plan) => {
                let turned = sizes.turned();
                let channels = (turned.inputs, turned.outputs);
                let weights = winograd::Weights::new(ws, channels, plan, true);
                winograd::forward(&turned, plan, dys, &weights, Finish::nothing())
            }
        });
        let (db, shifts) = self.bias_gradients(dys);
        let of = |values: Option<Vec<T>>, input: usize| {
            let shape = step.inputs[input].shape();
            values.map(|values| tensor(values, shape.clone(), x)).transpose()
        };
        let mut gradients = vec![of(dx, 0)?, of(dw, 1)?, of(Some(db), 2)?];
        if self.shifted {
            gradients.push(of(Some(shifts), 3)?);
        }
        gradients.push(Some(dy.clone()));
        Ok(gradients)
    }
}

impl Conv2d {
    /// `[O]`, or `[B, O]` where there is a shift.
    fn bias<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Vec<T>> {
        let bias: &[T] = &Values::of(&of[2])?;
        if !self.shifted {
            return Ok(bias.to_vec());
        }
        let shift: &[T] = &Values::of(&of[3])?;
        let rows = shift.chunks_exact(bias.len());
        Ok(rows.flat_map(|row| row.iter().zip(bias).map(|(s, b)| *s + *b)).collect())
    }

    /// Of the bias, `[O]`, and of the shift, `[B, O]`: sums of `dy` over all pixels of all pictures,
    /// and of each.
    fn bias_gradients<T: Real>(&self, dy: &[T]) -> (Vec<T>, Vec<T>) {
        let outputs = self.sizes.outputs;
        let pictures = dy.par_chunks(dy.len() / self.sizes.batch);
        let sums: Vec<Vec<f64>> = pictures.map(|dy| channel_sums(dy, outputs, |v, _| v)).collect();
        let mut total = vec![0.0; outputs];
        for sums in &sums {
            total.iter_mut().zip(sums).for_each(|(total, v)| *total += v);
        }
        let narrowed = |sums: &[f64]| sums.iter().map(|v| T::from_f64(*v)).collect::<Vec<T>>();
        (narrowed(&total), sums.iter().flat_map(|sums| narrowed(sums)).collect())
    }
}
