//! Inception-v3 as it is used for FID: the network of pytorch-fid and torch-fidelity, ported from
//! TensorFlow. It differs from torchvision's in its classes and in three kinds of pooling.

use super::{FeatureNetwork, Tap};
use crate::{
    error::{Error, Result},
    nets::layers::Linear,
    ops::{self, ConvGeometry, Convolution, Extra, Windows},
    params::{Init, ParamBuilder},
};
use candle_core::{DType, Tensor};

/// Added to the variance in every batch norm.
const NORM_EPS: f64 = 1e-3;
const CLASSES: usize = 1008;
/// Channels of the spatial features.
const SPATIAL: usize = 7;

/// Part of a branch.
#[derive(Clone, Copy)]
enum Part {
    /// A convolution: name, outputs, kernel, stride, padding.
    Conv(&'static str, usize, (usize, usize), usize, (usize, usize)),
    /// The means of 3 x 3 pixels around, of those in the map. torchvision counts what lies beyond it.
    Average,
    /// The largest of 3 x 3 pixels around. torchvision has the mean here too.
    MaxAround,
    /// The largest of 3 x 3 pixels, every other one.
    MaxHalf,
    /// Two convolutions of what there is, side by side: names, outputs of each.
    Fork([&'static str; 2], usize),
}

use Part::{Average, Conv, Fork, MaxAround, MaxHalf};

const fn one(name: &'static str, outputs: usize) -> Part {
    Conv(name, outputs, (1, 1), 1, (0, 0))
}

/// A kernel that keeps height and width.
const fn same(name: &'static str, outputs: usize, kernel: (usize, usize)) -> Part {
    Conv(name, outputs, kernel, 1, (kernel.0 / 2, kernel.1 / 2))
}

/// Height and width halve.
const fn half(name: &'static str, outputs: usize) -> Part {
    Conv(name, outputs, (3, 3), 2, (0, 0))
}

type Branches = Vec<Vec<Part>>;

/// 35 x 35.
fn a(pool: usize) -> Branches {
    let (three, five) = ((3, 3), (5, 5));
    vec![
        vec![one("branch1x1", 64)],
        vec![one("branch5x5_1", 48), same("branch5x5_2", 64, five)],
        vec![
            one("branch3x3dbl_1", 64),
            same("branch3x3dbl_2", 96, three),
            same("branch3x3dbl_3", 96, three),
        ],
        vec![Average, one("branch_pool", pool)],
    ]
}

/// From 35 x 35 to 17 x 17.
fn b() -> Branches {
    vec![
        vec![half("branch3x3", 384)],
        vec![
            one("branch3x3dbl_1", 64),
            same("branch3x3dbl_2", 96, (3, 3)),
            half("branch3x3dbl_3", 96),
        ],
        vec![MaxHalf],
    ]
}

/// 17 x 17.
fn c(width: usize) -> Branches {
    let (row, column) = ((1, 7), (7, 1));
    vec![
        vec![one("branch1x1", 192)],
        vec![
            one("branch7x7_1", width),
            same("branch7x7_2", width, row),
            same("branch7x7_3", 192, column),
        ],
        vec![
            one("branch7x7dbl_1", width),
            same("branch7x7dbl_2", width, column),
            same("branch7x7dbl_3", width, row),
            same("branch7x7dbl_4", width, column),
            same("branch7x7dbl_5", 192, row),
        ],
        vec![Average, one("branch_pool", 192)],
    ]
}

/// From 17 x 17 to 8 x 8.
fn d() -> Branches {
    vec![
        vec![one("branch3x3_1", 192), half("branch3x3_2", 320)],
        vec![
            one("branch7x7x3_1", 192),
            same("branch7x7x3_2", 192, (1, 7)),
            same("branch7x7x3_3", 192, (7, 1)),
            half("branch7x7x3_4", 192),
        ],
        vec![MaxHalf],
    ]
}

/// 8 x 8.
fn e(pool: Part) -> Branches {
    vec![
        vec![one("branch1x1", 320)],
        vec![one("branch3x3_1", 384), Fork(["branch3x3_2a", "branch3x3_2b"], 384)],
        vec![
            one("branch3x3dbl_1", 448),
            same("branch3x3dbl_2", 384, (3, 3)),
            Fork(["branch3x3dbl_3a", "branch3x3dbl_3b"], 384),
        ],
        vec![pool, one("branch_pool", 192)],
    ]
}

/// From the first 35 x 35 map on: name, what it can be had as, branches.
fn blocks() -> Vec<(&'static str, Option<&'static str>, Branches)> {
    vec![
        ("Mixed_5b", None, a(32)),
        ("Mixed_5c", None, a(64)),
        ("Mixed_5d", None, a(64)),
        ("Mixed_6a", None, b()),
        ("Mixed_6b", None, c(128)),
        ("Mixed_6c", None, c(160)),
        ("Mixed_6d", None, c(160)),
        ("Mixed_6e", Some("768"), c(192)),
        ("Mixed_7a", None, d()),
        ("Mixed_7b", None, e(Average)),
        ("Mixed_7c", Some("2048"), e(MaxAround)),
    ]
}

/// The first map: convolutions and pooling, and what they can be had as.
fn stem() -> Vec<(Part, Option<&'static str>)> {
    vec![
        (half("Conv2d_1a_3x3", 32), None),
        (Conv("Conv2d_2a_3x3", 32, (3, 3), 1, (0, 0)), None),
        (same("Conv2d_2b_3x3", 64, (3, 3)), None),
        (MaxHalf, Some("64")),
        (one("Conv2d_3b_1x1", 80), None),
        (Conv("Conv2d_4a_3x3", 192, (3, 3), 1, (0, 0)), None),
        (MaxHalf, Some("192")),
    ]
}

/// The block whose first branch gives TensorFlow's `mixed_6/conv`.
const SPATIAL_BLOCK: &str = "Mixed_6d";

/// The FID Inception-v3, for inference: it takes pictures of 299 x 299 (75 x 75 at least) in [-1, 1].
///
/// Taps are torch-fidelity's: `64`, `192`, `768` and `2048` (the features of FID) are means over the
/// pixels, `logits_unbiased` are the logits without the last bias (those of the Inception Score),
/// `logits` with it. `spatial` are the features of sFID (Nash et al., 2021): the first 7 channels of
/// TensorFlow's `mixed_6/conv`, pixel by pixel.
#[derive(Debug)]
pub struct Inception {
    stem: Vec<(Node, Option<&'static str>)>,
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Debug)]
struct Block {
    name: &'static str,
    tap: Option<&'static str>,
    branches: Vec<Vec<Node>>,
}

#[derive(Debug)]
enum Node {
    Conv(Unit),
    Average,
    MaxAround,
    MaxHalf,
    Fork([Unit; 2]),
}

impl Inception {
    /// The network, of frozen weights.
    ///
    /// # Errors
    /// When the builder is not [frozen](ParamBuilder::frozen), or a variance is negative. Weights that do
    /// not fit are reported by [`ParamBuilder::finish`].
    pub fn new(builder: &mut ParamBuilder) -> Result<Self> {
        if !builder.is_final() {
            return Err(Error::Input(
                "Inception-v3 is for inference: its weights must be frozen".into(),
            ));
        }
        let mut channels = 3;
        let mut first = Vec::new();
        for (part, tap) in stem() {
            first.push((Node::new(builder, part, &mut channels)?, tap));
        }
        let mut rest = Vec::new();
        for (name, tap, branches) in blocks() {
            let inputs = channels;
            channels = 0;
            let mut branch = |b: &mut ParamBuilder, parts: &Vec<Part>| {
                let mut width = inputs;
                let nodes = parts.iter().map(|part| Node::new(b, *part, &mut width));
                let nodes = nodes.collect::<Result<Vec<_>>>()?;
                channels += width;
                Ok::<_, Error>(nodes)
            };
            let branches =
                builder.under(name, |b| branches.iter().map(|parts| branch(b, parts)).collect())?;
            rest.push(Block { name, tap, branches });
        }
        let init = Init::FanIn(channels);
        let head = Linear::starting(builder, "fc", vec![CLASSES, channels], init, Some(init))?;
        Ok(Inception { stem: first, blocks: rest, head })
    }
}

impl Node {
    /// A part under its name; `channels` go in, and then come out.
    fn new(b: &mut ParamBuilder, part: Part, channels: &mut usize) -> Result<Self> {
        let inputs = *channels;
        Ok(match part {
            Conv(name, outputs, kernel, stride, padding) => {
                *channels = outputs;
                let geometry = ConvGeometry::new(stride, padding);
                Node::Conv(b.under(name, |b| Unit::new(b, (inputs, outputs), kernel, geometry))?)
            }
            Average => Node::Average,
            MaxAround => Node::MaxAround,
            MaxHalf => Node::MaxHalf,
            Fork([first, second], outputs) => {
                *channels = 2 * outputs;
                let mut unit = |name, kernel: (usize, usize)| {
                    let geometry = ConvGeometry::new(1, (kernel.0 / 2, kernel.1 / 2));
                    b.under(name, |b| Unit::new(b, (inputs, outputs), kernel, geometry))
                };
                Node::Fork([unit(first, (1, 3))?, unit(second, (3, 1))?])
            }
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Node::Conv(unit) => unit.forward(x),
            Node::Average => ops::average_pool(x, Windows::around(3)),
            Node::MaxAround => ops::max_pool(x, Windows::around(3)),
            Node::MaxHalf => ops::max_pool(x, Windows::new(3, 2)),
            Node::Fork([first, second]) => ops::concat(&[&first.forward(x)?, &second.forward(x)?]),
        }
    }

    /// Multiply-adds, of a map that then is the result's.
    fn cost(&self, image: &mut (usize, usize)) -> u64 {
        match self {
            Node::Conv(unit) => unit.cost(image),
            Node::Average | Node::MaxAround => 0,
            Node::MaxHalf => {
                let along = |size| Windows::new(3, 2).outputs(size).unwrap_or_default();
                *image = (along(image.0), along(image.1));
                0
            }
            Node::Fork(units) => units.iter().map(|unit| unit.cost(image)).sum(),
        }
    }
}

/// What taps of a network have been wanted, and found.
struct Found<'a> {
    wanted: &'a [&'a str],
    found: Vec<Option<Tensor>>,
}

impl Found<'_> {
    /// Makes what is called `name` if it is wanted.
    fn put(&mut self, name: &str, make: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        if self.wanted.contains(&name) {
            let value = make()?;
            let places = self.wanted.iter().zip(&mut self.found).filter(|(n, _)| **n == name);
            places.for_each(|(_, place)| *place = Some(value.clone()));
        }
        Ok(())
    }

    fn all(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    fn finish(self) -> Result<Vec<Tensor>> {
        let all = self.wanted.iter().zip(self.found);
        all.map(|(name, found)| {
            found.ok_or_else(|| Error::Input(format!("{name}: the network has no such tap")))
        })
        .collect()
    }
}

/// The mean over the pixels of `[B, H, W, C]`.
fn mean(x: &Tensor) -> Result<Tensor> {
    let pixels = x.flatten(1, 2)?;
    Ok((pixels.sum(1)? / pixels.dim(1)? as f64)?)
}

impl FeatureNetwork for Inception {
    fn taps(&self) -> Vec<Tap> {
        let tap = |name, channels| Tap { name, channels };
        vec![
            tap("64", 64),
            tap("192", 192),
            tap("spatial", 17 * 17 * SPATIAL),
            tap("768", 768),
            tap("2048", 2048),
            tap("logits_unbiased", CLASSES),
            tap("logits", CLASSES),
        ]
    }

    fn activations(&self, x: &Tensor, wanted: &[&str]) -> Result<Vec<Tensor>> {
        let mut found = Found { wanted, found: vec![None; wanted.len()] };
        let mut h = x.clone();
        for (node, tap) in &self.stem {
            if found.all() {
                break;
            }
            h = node.forward(&h)?;
            if let Some(name) = tap {
                found.put(name, || mean(&h))?;
            }
        }
        let mut features = None;
        for block in &self.blocks {
            if found.all() {
                break;
            }
            let mut parts = Vec::new();
            for nodes in &block.branches {
                let mut part = h.clone();
                for node in nodes {
                    part = node.forward(&part)?;
                }
                parts.push(part);
            }
            if block.name == SPATIAL_BLOCK {
                let spatial =
                    || Ok(parts[0].narrow(3, 0, SPATIAL)?.contiguous()?.flatten_from(1)?);
                found.put("spatial", spatial)?;
            }
            h = ops::concat(&parts.iter().collect::<Vec<_>>())?;
            if let Some(name) = block.tap {
                let row = mean(&h)?;
                found.put(name, || Ok(row.clone()))?;
                features = Some(row);
            }
        }
        if let (false, Some(features)) = (found.all(), features) {
            let weight = self.head.weight();
            let unbiased = ops::Affine::new(None).apply(&features, weight, None, None)?;
            found.put("logits_unbiased", || Ok(unbiased.clone()))?;
            let bias = self.head.bias();
            let logits = || bias.map_or(Ok(unbiased.clone()), |b| Ok(unbiased.broadcast_add(b)?));
            found.put("logits", logits)?;
        }
        found.finish()
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let mut image = (height, width);
        let mut sum = self.head.multiply_adds(1);
        sum += self.stem.iter().map(|(node, _)| node.cost(&mut image)).sum::<u64>();
        for block in &self.blocks {
            let before = image;
            for nodes in &block.branches {
                image = before;
                sum += nodes.iter().map(|node| node.cost(&mut image)).sum::<u64>();
            }
        }
        sum
    }
}

/// A convolution, a batch norm of statistics that do not change, and a ReLU. The norm is a factor and an
/// offset per channel: they are those of the convolution.
#[derive(Debug)]
struct Unit {
    weight: Tensor,
    bias: Tensor,
    convolution: Convolution,
}

impl Unit {
    fn new(
        b: &mut ParamBuilder,
        (inputs, outputs): (usize, usize),
        kernel: (usize, usize),
        geometry: ConvGeometry,
    ) -> Result<Self> {
        let (prepared, algorithm) = (b.prepared(), b.algorithm());
        let convolution =
            Convolution { rectified: true, prepared, ..Convolution::new(geometry, algorithm) };
        let shape = (outputs, inputs, kernel.0, kernel.1);
        let fan_in = Init::FanIn(inputs * kernel.0 * kernel.1);
        let weight = b.under("conv", |b| b.param("weight", shape, fan_in))?;
        b.under("bn", |b| {
            let scale = b.param("weight", outputs, Init::Ones)?;
            let offset = b.param("bias", outputs, Init::Zeros)?;
            let mean = b.buffer("running_mean", outputs, 0.0)?;
            let variance = b.buffer("running_var", outputs, 1.0)?;
            b.known("num_batches_tracked");
            let lowest = variance.min(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            if lowest < 0.0 {
                let name = b.full("running_var");
                return Err(Error::Input(format!("{name}: holds {lowest}, expected at least 0")));
            }
            let factor = (scale / (variance + NORM_EPS)?.sqrt()?)?;
            let bias = (offset - (mean * &factor)?)?;
            let weight = weight.broadcast_mul(&factor.reshape((outputs, 1, 1, 1))?)?;
            Ok(Unit { weight, bias, convolution })
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.convolution.apply(x, &self.weight, &self.bias, Extra::default())
    }

    fn cost(&self, image: &mut (usize, usize)) -> u64 {
        let [_, _, rows, columns] = *self.weight.dims() else { return 0 };
        *image = self.convolution.geometry.outputs(*image, (rows, columns)).unwrap_or_default();
        (self.weight.elem_count() * image.0 * image.1) as u64
    }
}
