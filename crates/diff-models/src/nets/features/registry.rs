//! Every network of this kind: one line each.

use super::{FeatureNetwork, Inception, LpipsConfig, Trunk, Vgg16, alexnet, squeezenet};
use crate::{error::Result, params::ParamBuilder};

/// A network by its name.
#[derive(Clone, Copy)]
pub struct FeatureKind {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Height and width of the pictures it was trained on.
    pub side: usize,
    /// Builds it.
    pub build: fn(&mut ParamBuilder) -> Result<Box<dyn FeatureNetwork>>,
}

/// Those there are.
pub const KINDS: [FeatureKind; 5] = [
    FeatureKind {
        name: "inception-fid",
        about: "Inception-v3 of pytorch-fid and torch-fidelity",
        side: 299,
        build: |b| Ok(Box::new(Inception::new(b)?)),
    },
    FeatureKind {
        name: "vgg16",
        about: "torchvision's VGG16 with its classifier",
        side: 224,
        build: |b| Ok(Box::new(Vgg16::new(b)?)),
    },
    FeatureKind {
        name: "vgg16-features",
        about: "its convolutions",
        side: 224,
        build: |b| Ok(Box::new(Vgg16::features(b, false)?)),
    },
    FeatureKind {
        name: "alexnet-features",
        about: "the convolutions of torchvision's AlexNet",
        side: 224,
        build: |b| Ok(Box::new(alexnet(b)?)),
    },
    FeatureKind {
        name: "squeezenet-features",
        about: "the convolutions of torchvision's SqueezeNet 1.1",
        side: 224,
        build: |b| Ok(Box::new(squeezenet(b)?)),
    },
];

/// Distances by their names.
pub const DISTANCES: [(&str, LpipsConfig); 4] = [
    ("lpips-vgg", LpipsConfig::of(Trunk::Vgg)),
    ("lpips-alex", LpipsConfig::of(Trunk::Alex)),
    ("lpips-squeeze", LpipsConfig::of(Trunk::Squeeze)),
    ("lpips-piq", LpipsConfig::piq()),
];
