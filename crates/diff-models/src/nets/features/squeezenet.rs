//! SqueezeNet 1.1 in torchvision's form.

use super::stack::{Stack, Step};
use crate::{
    error::Result,
    ops::{ConvGeometry, Windows},
    params::ParamBuilder,
};

/// Windows of 3 x 3, the last of which may be cut.
const POOL: Step = Step::Pool(Windows { ceil: true, ..Windows::new(3, 2) });

const STEPS: [Step; 19] = [
    Step::Conv(0, (3, 64), 3, ConvGeometry::new(2, (0, 0))),
    Step::Tap("relu1"),
    POOL,
    Step::Fire(3, 64, 16, 64),
    Step::Fire(4, 128, 16, 64),
    Step::Tap("relu2"),
    POOL,
    Step::Fire(6, 128, 32, 128),
    Step::Fire(7, 256, 32, 128),
    Step::Tap("relu3"),
    POOL,
    Step::Fire(9, 256, 48, 192),
    Step::Tap("relu4"),
    Step::Fire(10, 384, 48, 192),
    Step::Tap("relu5"),
    Step::Fire(11, 384, 64, 256),
    Step::Tap("relu6"),
    Step::Fire(12, 512, 64, 256),
    Step::Tap("relu7"),
];

/// The convolutions (`features`) of torchvision's `squeezenet1_1`.
///
/// # Errors
/// Weights that do not fit are reported by [`ParamBuilder::finish`].
pub fn squeezenet(builder: &mut ParamBuilder) -> Result<Stack> {
    Stack::new(builder, &STEPS, false)
}
