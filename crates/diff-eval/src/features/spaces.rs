//! The feature spaces of published metrics: one line each.

use crate::Result;
use diff_core::{Error, config::nearest};
use diff_models::ops::PixelGrid;

/// A network, what of it is looked at, and what becomes of a picture before.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The network, one of [`KINDS`](diff_models::nets::features::KINDS).
    pub network: &'static str,
    /// What is compared, which class probabilities are made of, and, where there is such a thing, what
    /// knows of places: taps of the network.
    pub taps: (&'static str, &'static str, Option<&'static str>),
    /// Height and width that pictures are resized to, bilinearly, without antialiasing.
    pub side: usize,
    /// Where the pixels of a resized picture lie.
    pub grid: PixelGrid,
    /// What becomes of grey levels 0..=255, before resizing and after it.
    pub levels: Levels,
    /// The weights that published numbers rest on.
    pub published: Published,
}

/// A file of weights.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// What it is called where it is published.
    pub file: &'static str,
    /// Where it can be had.
    pub address: &'static str,
    /// Its SHA-256.
    pub sha256: &'static str,
}

/// From grey levels to what the network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// v / 255, resized, 2x - 1.
    Unit,
    /// Resized, (v - 128) / 128.
    Centred,
    /// Resized, v / 127.5 - 1.
    Symmetric,
}

const INCEPTION: Published = Published {
    file: "pt_inception-2015-12-05-6726825d.pth",
    address: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/\
              pt_inception-2015-12-05-6726825d.pth",
    sha256: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
};

const VGG16: Published = Published {
    file: "vgg16-397923af.pth",
    address: "https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256: "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
};

const TAPS: (&str, &str, Option<&str>) = ("2048", "logits_unbiased", Some("spatial"));

/// Those there are.
pub const SPACES: [Space; 3] = [
    Space {
        name: "pytorch-fid",
        about: "Inception-v3 as pytorch-fid uses it: pixel centres agree in resizing",
        network: "inception-fid",
        taps: TAPS,
        side: 299,
        grid: PixelGrid::HalfPixel,
        levels: Levels::Unit,
        published: INCEPTION,
    },
    Space {
        name: "torch-fidelity",
        about: "Inception-v3 as torch-fidelity and TensorFlow 1 use it: first pixels agree in resizing",
        network: "inception-fid",
        taps: TAPS,
        side: 299,
        grid: PixelGrid::Corner,
        levels: Levels::Centred,
        published: INCEPTION,
    },
    Space {
        name: "vgg16",
        about: "VGG16's second hidden layer, resized as torch-fidelity does",
        network: "vgg16",
        taps: ("fc2", "logits", None),
        side: 224,
        grid: PixelGrid::Corner,
        levels: Levels::Symmetric,
        published: VGG16,
    },
];

impl Space {
    /// What becomes of a picture before the network sees it, in words.
    pub fn preprocessing(&self) -> String {
        let side = self.side;
        let grid = match self.grid {
            PixelGrid::HalfPixel => "pixel centres aligned",
            PixelGrid::Corner => "first pixels aligned",
        };
        let (before, after) = match self.levels {
            Levels::Unit => ("v / 255, ", "2x - 1"),
            Levels::Centred => ("", "(v - 128) / 128"),
            Levels::Symmetric => ("", "v / 127.5 - 1, mean and deviation of ImageNet"),
        };
        format!("{before}bilinear to {side} x {side} without antialiasing, {grid}, {after}")
    }
}

/// The space of this name.
///
/// # Errors
/// When there is none; the nearest name is told.
pub fn space(name: &str) -> Result<Space> {
    let known = SPACES.map(|space| space.name);
    SPACES.into_iter().find(|space| space.name == name).ok_or_else(|| {
        let hint = nearest(name, known).map(|n| format!("; did you mean `{n}`?"));
        let expected = format!("{}{}", known.join(", "), hint.unwrap_or_default());
        Error::argument("mode", name, expected).into()
    })
}
