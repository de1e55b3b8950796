//! Two-dimensional convolution.

mod cpu;
mod direct;
mod expression;
mod winograd;

use super::{Prepared, bhwc, graph, linear::Affine, mismatch};
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step between windows, in both directions.
    pub stride: usize,
    /// Zeros before the first row, and before the first column.
    pub before: (usize, usize),
    /// Zeros after the last row, and after the last column.
    pub after: (usize, usize),
}

impl ConvGeometry {
    /// As much `padding` before as after, (rows, columns).
    pub const fn new(stride: usize, padding: (usize, usize)) -> Self {
        ConvGeometry { stride, before: padding, after: padding }
    }

    /// Stride 1 and the padding that keeps height and width for an odd `kernel`.
    pub const fn same(kernel: usize) -> Self {
        Self::new(1, (kernel / 2, kernel / 2))
    }

    /// Halves height and width with a 3x3 kernel: `padding` 1 pads all sides, 0 only right and
    /// bottom (by one), as DDPM does.
    pub fn half(padding: usize) -> Self {
        let after = padding.max(1);
        ConvGeometry { stride: 2, before: (padding, padding), after: (after, after) }
    }

    /// Rows and columns of windows in an image of (height, width), for a kernel of (rows, columns);
    /// `None` if not even one fits.
    pub fn outputs(self, image: (usize, usize), kernel: (usize, usize)) -> Option<(usize, usize)> {
        let ConvGeometry { stride, before, after } = self;
        let along = |size: usize, zeros: usize, kernel: usize| {
            Some((size + zeros).checked_sub(kernel)? / stride + 1)
        };
        let rows = along(image.0, before.0 + after.0, kernel.0)?;
        Some((rows, along(image.1, before.1 + after.1, kernel.1)?))
    }
}

/// How convolutions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Term by term: relative deviations of about 1e-7 from exact arithmetic.
    Exact,
    /// With fewer multiplications where kernels are 3x3: about 4e-6, and much faster.
    Fast,
}

static EXACT: AtomicBool = AtomicBool::new(false);

impl Algorithm {
    /// What networks are built with from now on in this process; [`Algorithm::Fast`] at first.
    pub fn set_default(self) {
        EXACT.store(self == Algorithm::Exact, Ordering::Relaxed);
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        if EXACT.load(Ordering::Relaxed) { Algorithm::Exact } else { Algorithm::Fast }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "exact" => Ok(Algorithm::Exact),
            "fast" => Ok(Algorithm::Fast),
            _ => Err(format!("{name}: expected exact or fast")),
        }
    }
}

/// The dimensions of one convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    /// Height, width of the input.
    image: (usize, usize),
    /// Channels going in.
    inputs: usize,
    /// Channels coming out.
    outputs: usize,
    /// kh, kw.
    kernel: (usize, usize),
    geometry: ConvGeometry,
    /// Height, width of the output.
    out_image: (usize, usize),
}

/// Channels from which on Winograd's algorithm pays.
const WINOGRAD_CHANNELS: usize = 16;

impl Sizes {
    /// # Errors
    /// When the shapes do not fit together or no window fits.
    fn new(x: &Tensor, weight: &Tensor, bias: &Tensor, geometry: ConvGeometry) -> Result<Self> {
        let (batch, height, width, inputs) = bhwc("conv2d", x)?;
        let (outputs, expected, kh, kw) = weight.dims4()?;
        if inputs != expected {
            return Err(mismatch("conv2d", x, "weight", weight));
        }
        if bias.dims() != [outputs] {
            return Err(mismatch("conv2d", weight, "bias", bias));
        }
        let (image, kernel) = ((height, width), (kh, kw));
        match geometry.outputs(image, kernel) {
            Some(out_image) => {
                Ok(Sizes { batch, image, inputs, outputs, kernel, geometry, out_image })
            }
            None => Err(Error::Input(format!(
                "conv2d: an image of {height} x {width} is smaller than the {kh} x {kw} kernel"
            ))),
        }
    }

    /// A matrix product over pixels and nothing else.
    fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.geometry == ConvGeometry::same(1)
    }

    /// Which of Winograd's algorithms serves, if one does.
    fn winograd(&self, algorithm: Algorithm) -> Option<winograd::Plan> {
        let ConvGeometry { stride, before, .. } = self.geometry;
        let fits = (self.kernel, stride) == ((3, 3), 1)
            && before.0.max(before.1) <= 2
            && self.inputs.min(self.outputs) >= WINOGRAD_CHANNELS
            && algorithm == Algorithm::Fast;
        fits.then(|| winograd::Plan::of(self))
    }

    /// Those of the gradient of the input, where stride is 1 and there are fewer zeros than taps.
    fn turned(&self) -> Self {
        let taps = (self.kernel.0 - 1, self.kernel.1 - 1);
        let (above, before) = (taps.0 - self.geometry.before.0, taps.1 - self.geometry.before.1);
        // What comes out is known; what lies beyond what goes in is zero anyway.
        let geometry = ConvGeometry::new(1, (above, before));
        let (image, out_image) = (self.out_image, self.image);
        Sizes { image, out_image, geometry, inputs: self.outputs, outputs: self.inputs, ..*self }
    }

    /// Terms of one output value: kh * kw * inputs.
    fn terms(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.inputs
    }
}

/// A convolution: all but its numbers.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Stride and padding.
    pub geometry: ConvGeometry,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Whether negative results become zero (ReLU), last of all.
    pub rectified: bool,
    /// Where the weights of a frozen network are kept as the algorithm reads them.
    pub prepared: Option<Arc<Prepared>>,
}

impl Convolution {
    /// One with weights that may change.
    pub fn new(geometry: ConvGeometry, algorithm: Algorithm) -> Self {
        Convolution { geometry, algorithm, rectified: false, prepared: None }
    }

    /// Cross-correlation of `x` `[B, H, W, I]` with `weight` `[O, I, kh, kw]` (as checkpoints store
    /// it) plus `bias` `[O]` and what there is in `extra`; the result is `[B, H', W', O]`.
    ///
    /// # Errors
    /// When the shapes do not fit together or no window fits.
    pub fn apply(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        extra: Extra,
    ) -> Result<Tensor> {
        let sizes = Sizes::new(x, weight, bias, self.geometry)?;
        let (rows, columns) = sizes.out_image;
        let (batch, outputs) = (sizes.batch, sizes.outputs);
        let shapes: [(_, _, &[usize]); 2] = [
            ("shift", extra.shift, &[batch, outputs]),
            ("residual", extra.residual, &[batch, rows, columns, outputs]),
        ];
        for (name, tensor, shape) in shapes {
            if let Some(tensor) = tensor
                && tensor.dims() != shape
            {
                return Err(mismatch("conv2d", x, name, tensor));
            }
        }
        if !x.device().is_cpu() || batch == 0 {
            let y = expression::conv2d(x, weight, bias, extra, sizes)?;
            return if self.rectified { Ok(y.relu()?) } else { Ok(y) };
        }
        let prepared = self.prepared.clone();
        if sizes.is_pointwise() && extra.shift.is_none() {
            let affine = Affine::new(prepared).rectified(self.rectified);
            return affine.apply(x, weight, Some(bias), extra.residual);
        }
        let (algorithm, rectified) = (self.algorithm, self.rectified);
        let shifted = extra.shift.is_some();
        let op = cpu::Conv2d { sizes, algorithm, rectified, prepared, shifted };
        let given = [Some(x), Some(weight), Some(bias), extra.shift, extra.residual];
        let given: Vec<&Tensor> = given.into_iter().flatten().collect();
        graph::apply(op, &given)
    }
}

/// What a convolution may add to its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra<'a> {
    /// A second bias for every picture, `[B, O]`.
    pub shift: Option<&'a Tensor>,
    /// A map of the result's shape.
    pub residual: Option<&'a Tensor>,
}

/// [`Convolution::apply`] by the fast algorithm, of nothing extra.
///
/// # Errors
/// When the shapes do not fit together or no window fits.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    geometry: ConvGeometry,
) -> Result<Tensor> {
    Convolution::new(geometry, Algorithm::Fast).apply(x, weight, bias, Extra::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn wave(shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|i| (step * i as f64 + 0.2).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Output and gradients of sum(out^2).
    fn run(op: impl Fn(&[Var]) -> Result<Tensor>, inputs: &[Tensor]) -> Vec<Vec<f64>> {
        let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
        let out = op(&vars).unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let all = vars.iter().map(|var| flat(grads.get(var).unwrap()));
        all.chain([flat(&out)]).collect()
    }

    #[test]
    fn the_cpu_paths_equal_the_expression() {
        let cases = [
            ((3, 3), ConvGeometry::same(3)),
            ((3, 3), ConvGeometry::new(1, (0, 0))),
            ((3, 3), ConvGeometry { stride: 1, before: (2, 0), after: (1, 2) }),
            ((3, 3), ConvGeometry::half(0)),
            ((3, 3), ConvGeometry::half(1)),
            ((1, 1), ConvGeometry::same(1)),
            ((1, 1), ConvGeometry::new(2, (0, 0))),
            ((5, 5), ConvGeometry::same(5)),
            ((1, 7), ConvGeometry::new(1, (0, 3))),
            ((3, 1), ConvGeometry::new(1, (1, 0))),
        ];
        // Channels: few; more than Winograd's least and no multiple of a vector; more terms than
        // are added up at once. Maps: smaller than a tile, cut by tiles, for F(2,3) and for F(4,3).
        let shapes = [
            (1, (6, 4), (5, 7)),
            (3, (5, 33), (5, 7)),
            (37, (4, 4), (5, 7)),
            (3, (5, 3), (17, 19)),
            (1, (17, 18), (18, 21)),
            (2, (16, 16), (16, 130)),
            (2, (3, 4), (133, 17)),
            (2, (6, 5), (17, 19)),
            (2, (3, 4), (133, 70)),
        ];
        for (batch, (height, width), (inputs, outputs)) in shapes {
            for (kernel, geometry) in cases {
                for (extra, algorithm) in [(false, Algorithm::Fast), (true, Algorithm::Exact)] {
                    // Only one way has values of both signs that are far from zero.
                    let rectified = !extra;
                    let Some((rows, columns)) = geometry.outputs((height, width), kernel) else {
                        continue;
                    };
                    let mut tensors = vec![
                        wave(&[batch, height, width, inputs], 0.7),
                        wave(&[outputs, inputs, kernel.0, kernel.1], 0.3),
                        wave(&[outputs], 0.9),
                    ];
                    if extra {
                        tensors.push(wave(&[batch, outputs], 0.21));
                        tensors.push(wave(&[batch, rows, columns, outputs], 0.11));
                    }
                    let extra = |x: &[Var]| -> [Option<Tensor>; 2] {
                        [3, 4].map(|i| x.get(i).map(|x| x.as_tensor().clone()))
                    };
                    let plain = Convolution::new(geometry, algorithm);
                    let convolution = Convolution { rectified, ..plain };
                    let fast = |x: &[Var]| {
                        let [shift, residual] = extra(x);
                        let extra = Extra { shift: shift.as_ref(), residual: residual.as_ref() };
                        convolution.apply(&x[0], &x[1], &x[2], extra)
                    };
                    let plain = |x: &[Var]| {
                        let [shift, residual] = extra(x);
                        let extra = Extra { shift: shift.as_ref(), residual: residual.as_ref() };
                        let sizes = Sizes::new(&x[0], &x[1], &x[2], geometry)?;
                        let y = expression::conv2d(&x[0], &x[1], &x[2], extra, sizes)?;
                        if rectified { Ok(y.relu()?) } else { Ok(y) }
                    };
                    for (fast, plain) in run(fast, &tensors).iter().zip(run(plain, &tensors)) {
                        let scale = plain.iter().fold(0f64, |most, v| most.max(v.abs()));
                        let worst = fast.iter().zip(&plain).map(|(a, b)| (a - b).abs());
                        let worst = worst.fold(0.0, f64::max);
                        assert!(worst < 1e-12 * scale, "{worst} {tensors:?} {geometry:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_are_large_on_large_maps_and_on_small_ones_of_few_channels() {
        let plan = |side: usize, channels: usize, algorithm: Algorithm| {
            let x = Tensor::zeros((1, side, side, channels), DType::F32, &Device::Cpu).unwrap();
            let shape = (channels, channels, 3, 3);
            let weight = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let bias = Tensor::zeros(channels, DType::F32, &Device::Cpu).unwrap();
            let sizes = Sizes::new(&x, &weight, &bias, ConvGeometry::same(3)).unwrap();
            sizes.winograd(algorithm)
        };
        for (side, channels, expected) in [
            (16, 256, Some(winograd::Plan::Four)),
            (8, 256, Some(winograd::Plan::Two)),
            (8, 64, Some(winograd::Plan::Four)),
            (4, 96, Some(winograd::Plan::Four)),
            (4, 97, Some(winograd::Plan::Two)),
            (6, 64, Some(winograd::Plan::Two)),
            (2, 64, Some(winograd::Plan::Two)),
            (32, 8, None),
        ] {
            assert_eq!(plan(side, channels, Algorithm::Fast), expected, "{side} {channels}");
            assert_eq!(plan(side, channels, Algorithm::Exact), None);
        }
    }

    #[test]
    fn kept_weights_change_nothing() {
        let tensors = [wave(&[2, 6, 5, 17], 0.7), wave(&[18, 17, 3, 3], 0.3), wave(&[18], 0.9)];
        let (residual, shift) = (wave(&[2, 6, 5, 18], 0.11), wave(&[2, 18], 0.21));
        let extra = Extra { shift: Some(&shift), residual: Some(&residual) };
        let [x, w, b] = &tensors;
        for algorithm in [Algorithm::Fast, Algorithm::Exact] {
            let plain = Convolution::new(ConvGeometry::same(3), algorithm);
            let frozen = Convolution { prepared: Some(Prepared::new()), ..plain.clone() };
            let values = |convolution: &Convolution| {
                let y = convolution.apply(x, w, b, extra).unwrap();
                y.flatten_all().unwrap().to_vec1::<f64>().unwrap()
            };
            let expected = values(&plain);
            assert_eq!(values(&frozen), expected);
            assert_eq!(values(&frozen), expected);
        }
    }

    #[test]
    fn mixed_number_types_are_refused() {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let (x, b) = (zeros(&[1, 4, 4, 1], DType::F32), zeros(&[1], DType::F64));
        let w = zeros(&[1, 1, 3, 3], DType::F64);
        let message = conv2d(&x, &w, &b, ConvGeometry::same(3)).unwrap_err().to_string();
        assert!(message.contains("one number type"), "{message}");
    }
}
