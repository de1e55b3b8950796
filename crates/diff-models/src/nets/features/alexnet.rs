//! AlexNet in torchvision's form.

use super::stack::{Stack, Step};
use crate::{
    error::Result,
    ops::{ConvGeometry, Windows},
    params::ParamBuilder,
};

const STEPS: [Step; 12] = [
    Step::Conv(0, (3, 64), 11, ConvGeometry::new(4, (2, 2))),
    Step::Tap("relu1"),
    Step::Pool(Windows::new(3, 2)),
    Step::Conv(3, (64, 192), 5, ConvGeometry::same(5)),
    Step::Tap("relu2"),
    Step::Pool(Windows::new(3, 2)),
    Step::Conv(6, (192, 384), 3, ConvGeometry::same(3)),
    Step::Tap("relu3"),
    Step::Conv(8, (384, 256), 3, ConvGeometry::same(3)),
    Step::Tap("relu4"),
    Step::Conv(10, (256, 256), 3, ConvGeometry::same(3)),
    Step::Tap("relu5"),
];

/// The convolutions (`features`) of torchvision's `alexnet`, to the last ReLU.
///
/// # Errors
/// Weights that do not fit are reported by [`ParamBuilder::finish`].
pub fn alexnet(builder: &mut ParamBuilder) -> Result<Stack> {
    Stack::new(builder, &STEPS, false)
}
