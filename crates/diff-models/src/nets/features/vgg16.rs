//! VGG16 in torchvision's form.

use super::{
    FeatureNetwork, Tap, imagenet,
    stack::{Stack, Step},
};
use crate::{
    error::{Error, Result},
    nets::layers::Linear,
    ops::{ConvGeometry, Windows},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;

const POOL: Step = Step::Pool(Windows::new(2, 2));

const fn conv(number: usize, inputs: usize, outputs: usize) -> Step {
    Step::Conv(number, (inputs, outputs), 3, ConvGeometry::same(3))
}

pub(super) const STEPS: [Step; 23] = [
    conv(0, 3, 64),
    conv(2, 64, 64),
    Step::Tap("relu1_2"),
    POOL,
    conv(5, 64, 128),
    conv(7, 128, 128),
    Step::Tap("relu2_2"),
    POOL,
    conv(10, 128, 256),
    conv(12, 256, 256),
    conv(14, 256, 256),
    Step::Tap("relu3_3"),
    POOL,
    conv(17, 256, 512),
    conv(19, 512, 512),
    conv(21, 512, 512),
    Step::Tap("relu4_3"),
    POOL,
    conv(24, 512, 512),
    conv(26, 512, 512),
    conv(28, 512, 512),
    Step::Tap("relu5_3"),
    POOL,
];

/// The side of the last map, of pictures of 224.
const SIDE: usize = 7;
const CLASSES: usize = 1000;

/// torchvision's `vgg16` with its classifier, for pictures of 224 x 224: besides the maps of its
/// convolutions (`relu1_2` .. `relu5_3`) it gives `fc1` and `fc2`, after their ReLU, and `logits`.
#[derive(Clone, Debug)]
pub struct Vgg16 {
    features: Stack,
    /// Of the last map's pixels, channel by channel.
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Vgg16 {
    /// The network.
    ///
    /// # Errors
    /// Weights that do not fit are reported by [`ParamBuilder::finish`].
    pub fn new(builder: &mut ParamBuilder) -> Result<Self> {
        Self::with_hidden(builder, 4096)
    }

    /// The convolutions (`features`) alone, with the pooling at their end; `average`: with the means of
    /// windows instead of their largest values.
    ///
    /// # Errors
    /// Weights that do not fit are reported by [`ParamBuilder::finish`].
    pub fn features(builder: &mut ParamBuilder, average: bool) -> Result<Stack> {
        Stack::new(builder, &STEPS, average)
    }

    /// One whose classifier has layers of `hidden` numbers instead of 4096.
    ///
    /// # Errors
    /// Weights that do not fit are reported by [`ParamBuilder::finish`].
    pub fn with_hidden(builder: &mut ParamBuilder, hidden: usize) -> Result<Self> {
        let features = Self::features(builder, false)?;
        builder.under("classifier", |b| {
            let inputs = SIDE * SIDE * 512;
            let mut linear = |name: &str, inputs: usize, outputs: usize| {
                let init = Init::FanIn(inputs);
                Linear::starting(b, name, vec![outputs, inputs], init, Some(init))
            };
            Ok(Vgg16 {
                features,
                first: linear("0", inputs, hidden)?.rectified(),
                second: linear("3", hidden, hidden)?.rectified(),
                last: linear("6", hidden, CLASSES)?,
            })
        })
    }
}

impl FeatureNetwork for Vgg16 {
    fn taps(&self) -> Vec<Tap> {
        let hidden = self.second.weight().dims()[0];
        let rows = [("fc1", hidden), ("fc2", hidden), ("logits", CLASSES)];
        let rows = rows.map(|(name, channels)| Tap { name, channels });
        self.features.taps().into_iter().chain(rows).collect()
    }

    fn activations(&self, x: &Tensor, wanted: &[&str]) -> Result<Vec<Tensor>> {
        let maps: Vec<&str> =
            wanted.iter().copied().filter(|name| name.starts_with("relu")).collect();
        let all = maps.len() < wanted.len();
        let (mut found, last) = self.features.run(&imagenet(x)?, &maps, all)?;
        if !all {
            return Ok(found);
        }
        let [_, SIDE, SIDE, _] = *last.dims() else {
            let [_, height, width, _] = *x.dims() else {
                return Err(Error::Input(format!("x: {:?}: expected [B, H, W, 3]", x.dims())));
            };
            let found = format!("{height} x {width}");
            return Err(Error::Input(format!(
                "pictures of {found}: VGG16's classifier takes 224 x 224"
            )));
        };
        // As PyTorch flattens it: a channel's pixels side by side.
        let rows = last.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?;
        let first = self.first.forward(&rows)?;
        let second = self.second.forward(&first)?;
        let logits = wanted.contains(&"logits").then(|| self.last.forward(&second)).transpose()?;
        found.reverse();
        let pick = |name: &&str| match *name {
            "fc1" => Some(first.clone()),
            "fc2" => Some(second.clone()),
            "logits" => logits.clone(),
            _ => found.pop(),
        };
        Ok(wanted.iter().filter_map(pick).collect())
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let rows = [&self.first, &self.second, &self.last].map(|linear| linear.multiply_adds(1));
        self.features.cost((height, width)).0 + rows.iter().sum::<u64>()
    }
}
