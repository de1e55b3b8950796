//! torchvision's `features`: convolutions with ReLU and pooling, one after the other.

use super::{FeatureNetwork, Tap, imagenet};
use crate::{
    error::{Error, Result},
    nets::layers::Conv2d,
    ops::{self, ConvGeometry, Windows},
    params::ParamBuilder,
};
use candle_core::Tensor;

/// A step of a stack. Numbers are those of torchvision's modules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A convolution and its ReLU: number, (inputs, outputs), kernel, stride and padding.
    Conv(usize, (usize, usize), usize, ConvGeometry),
    /// A fire module: number, inputs, channels squeezed to, channels that each of its two ends has.
    Fire(usize, usize, usize, usize),
    /// Pooling.
    Pool(Windows),
    /// What there is by now can be had, by this name.
    Tap(&'static str),
}

/// A network of steps, for pictures in [-1, 1].
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<Layer>,
    average: bool,
}

#[derive(Clone, Debug)]
enum Layer {
    Conv(Conv2d),
    Fire(Fire),
    Pool(Windows),
    Tap(Tap),
}

impl Stack {
    /// `average`: windows give their means instead of their largest values.
    pub(super) fn new(builder: &mut ParamBuilder, steps: &[Step], average: bool) -> Result<Self> {
        let mut channels = 3;
        builder.under("features", |b| {
            let layer = |step: &Step| {
                Ok(match *step {
                    Step::Conv(number, ends, kernel, geometry) => {
                        channels = ends.1;
                        let name = number.to_string();
                        Layer::Conv(Conv2d::new(b, &name, ends, kernel, geometry)?.rectified())
                    }
                    Step::Fire(number, inputs, squeezed, each) => {
                        channels = 2 * each;
                        Layer::Fire(b.under(number, |b| Fire::new(b, inputs, squeezed, each))?)
                    }
                    Step::Pool(windows) => Layer::Pool(windows),
                    Step::Tap(name) => Layer::Tap(Tap { name, channels }),
                })
            };
            let layers = steps.iter().map(layer).collect::<Result<_>>()?;
            Ok(Stack { layers, average })
        })
    }

    fn pool(&self, x: &Tensor, windows: Windows) -> Result<Tensor> {
        match self.average {
            true => ops::average_pool(x, windows),
            false => ops::max_pool(x, windows),
        }
    }

    /// [`FeatureNetwork::activations`] of pictures as ImageNet networks take them, and the end where it
    /// is `all` the way.
    pub(super) fn run(
        &self,
        x: &Tensor,
        wanted: &[&str],
        all: bool,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let mut found = vec![None; wanted.len()];
        let mut h = x.clone();
        for layer in &self.layers {
            if !all && found.iter().all(Option::is_some) {
                break;
            }
            match layer {
                Layer::Conv(conv) => h = conv.forward(&h)?,
                Layer::Fire(fire) => h = fire.forward(&h)?,
                Layer::Pool(windows) => h = self.pool(&h, *windows)?,
                Layer::Tap(tap) => {
                    let places =
                        wanted.iter().zip(&mut found).filter(|(name, _)| **name == tap.name);
                    places.for_each(|(_, place)| *place = Some(h.clone()));
                }
            }
        }
        let found = wanted.iter().zip(found).map(|(name, found)| {
            found.ok_or_else(|| Error::Input(format!("{name}: the network has no such tap")))
        });
        Ok((found.collect::<Result<_>>()?, h))
    }

    /// Multiply-adds, and the size of the last map.
    pub(super) fn cost(&self, image: (usize, usize)) -> (u64, (usize, usize)) {
        let (mut sum, mut image) = (0, image);
        for layer in &self.layers {
            match layer {
                Layer::Conv(conv) => {
                    image = conv.outputs(image).unwrap_or_default();
                    sum += conv.multiply_adds(image.0 * image.1);
                }
                Layer::Fire(fire) => sum += fire.multiply_adds(image.0 * image.1),
                Layer::Pool(windows) => {
                    let along = |size| windows.outputs(size).unwrap_or_default();
                    image = (along(image.0), along(image.1));
                }
                Layer::Tap(_) => {}
            }
        }
        (sum, image)
    }
}

impl FeatureNetwork for Stack {
    fn taps(&self) -> Vec<Tap> {
        let tap = |layer: &Layer| if let Layer::Tap(tap) = layer { Some(*tap) } else { None };
        self.layers.iter().filter_map(tap).collect()
    }

    fn activations(&self, x: &Tensor, wanted: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.run(&imagenet(x)?, wanted, false)?.0)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.cost((height, width)).0
    }
}

/// SqueezeNet's module: few channels, then two convolutions of them side by side.
#[derive(Clone, Debug)]
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl Fire {
    fn new(b: &mut ParamBuilder, inputs: usize, squeezed: usize, each: usize) -> Result<Self> {
        let mut conv = |name: &str, widths, kernel| {
            let same = ConvGeometry::same(kernel);
            Ok::<_, Error>(Conv2d::new(b, name, widths, kernel, same)?.rectified())
        };
        Ok(Fire {
            squeeze: conv("squeeze", (inputs, squeezed), 1)?,
            expand1x1: conv("expand1x1", (squeezed, each), 1)?,
            expand3x3: conv("expand3x3", (squeezed, each), 3)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.squeeze.forward(x)?;
        ops::concat(&[&self.expand1x1.forward(&h)?, &self.expand3x3.forward(&h)?])
    }

    fn multiply_adds(&self, pixels: usize) -> u64 {
        [&self.squeeze, &self.expand1x1, &self.expand3x3]
            .map(|c| c.multiply_adds(pixels))
            .iter()
            .sum()
    }
}
