//! What `diff-models nets` shows.

use super::{
    Architecture, Family,
    features::{DISTANCES, FeatureKind, KINDS, Lpips, LpipsConfig},
};
use crate::{error::Result, params::ParamBuilder};
use serde::Serialize;
use serde_json::Value;
use std::fmt::{self, Display, Formatter};

/// Every kind of denoising network, and the networks that pictures are judged by.
#[derive(Clone, Debug, Serialize)]
pub struct Catalogue {
    /// In the order of [`Architecture::families`].
    pub families: Vec<Entry>,
    /// Networks whose activations are compared.
    pub features: Vec<Judge>,
    /// Distances of two pictures.
    pub distances: Vec<Judge>,
}

/// A network that pictures are judged by, and how large it is.
#[derive(Clone, Debug, Serialize)]
pub struct Judge {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub about: String,
    /// What it gives: names, and channels or numbers of each.
    pub taps: Vec<(&'static str, usize)>,
    /// Height and width of the pictures that `flops` counts.
    pub side: usize,
    /// Numbers that its parameters hold.
    pub parameters: usize,
    /// Floating-point operations for one picture, or one pair of pictures, two a multiply-add.
    pub flops: u64,
}

impl Judge {
    fn network(kind: &FeatureKind) -> Result<Self> {
        let mut builder = ParamBuilder::shapes_only();
        let network = (kind.build)(&mut builder)?;
        Ok(Judge {
            name: kind.name,
            about: kind.about.into(),
            taps: network.taps().iter().map(|tap| (tap.name, tap.channels)).collect(),
            side: kind.side,
            parameters: numel(&builder),
            flops: 2 * network.multiply_adds(kind.side, kind.side),
        })
    }

    fn distance((name, config): (&'static str, LpipsConfig)) -> Result<Self> {
        const SIDE: usize = 64;
        let mut builder = ParamBuilder::shapes_only();
        let lpips = Lpips::new(config, &mut builder)?;
        Ok(Judge {
            name,
            about: lpips.about(),
            taps: Vec::new(),
            side: SIDE,
            parameters: numel(&builder),
            flops: 2 * lpips.multiply_adds(SIDE, SIDE),
        })
    }
}

fn numel(builder: &ParamBuilder) -> usize {
    builder.shapes().iter().map(|(_, shape)| shape.elem_count()).sum()
}

/// A kind of networks.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// `kind` in a configuration.
    pub kind: &'static str,
    /// What they are.
    pub about: &'static str,
    /// The options, as they are unless given.
    pub options: Value,
    /// Those that have names.
    pub presets: Vec<Preset>,
}

/// A network with a name, and how large it is.
#[derive(Clone, Debug, Serialize)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// C, H, W of the pictures it is made for.
    pub image_shape: Option<[usize; 3]>,
    /// Numbers that its parameters hold.
    pub parameters: usize,
    /// Floating-point operations of a forward pass for one picture of that size, two a multiply-add.
    pub flops: Option<u64>,
}

impl Catalogue {
    /// Builds every network that has a name, without memory for its parameters.
    ///
    /// # Errors
    /// When one of them cannot be built.
    pub fn new() -> Result<Self> {
        let families = Architecture::families().into_iter().map(Entry::new);
        Ok(Catalogue {
            families: families.collect::<Result<_>>()?,
            features: KINDS.iter().map(Judge::network).collect::<Result<_>>()?,
            distances: DISTANCES.into_iter().map(Judge::distance).collect::<Result<_>>()?,
        })
    }
}

impl Entry {
    fn new(family: Family) -> Result<Self> {
        let presets = family.presets.iter().map(|(name, built)| Preset::new(name, built));
        Ok(Entry {
            kind: family.kind,
            about: family.about,
            options: family.options.config().to_json(),
            presets: presets.collect::<Result<_>>()?,
        })
    }
}

impl Preset {
    fn new(name: &'static str, architecture: &Architecture) -> Result<Self> {
        let mut builder = ParamBuilder::shapes_only();
        let network = architecture.config().network(&mut builder)?;
        let image_shape = architecture.config().image_shape();
        let flops = image_shape.map(|[_, height, width]| 2 * network.multiply_adds(height, width));
        Ok(Preset { name, image_shape, parameters: numel(&builder), flops })
    }
}

impl Display for Catalogue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for entry in &self.families {
            writeln!(f, "kind = \"{}\"   {}", entry.kind, entry.about)?;
            for (option, value) in entry.options.as_object().into_iter().flatten() {
                writeln!(f, "  {option} = {value}")?;
            }
            for preset in &entry.presets {
                let shape = preset.image_shape.map_or_else(String::new, |s| format!("{s:?}"));
                let flops = preset.flops.map_or_else(String::new, |flops| {
                    format!("{:10.2} GFLOPs an image", flops as f64 / 1e9)
                });
                let (name, parameters) = (preset.name, preset.parameters);
                writeln!(f, "  {name:<20} {shape:<14} {parameters:>12} parameters {flops}")?;
            }
            writeln!(f)?;
        }
        let lists = [
            ("Networks whose activations are compared", "an image", &self.features),
            ("Distances of two pictures in [-1, 1]", "a pair", &self.distances),
        ];
        for (about, each, judges) in lists {
            writeln!(f, "{about}")?;
            for judge in judges {
                let Judge { name, about, side, parameters, .. } = judge;
                let shape = format!("[3, {side}, {side}]");
                let flops = judge.flops as f64 / 1e9;
                writeln!(
                    f,
                    "  {name:<20} {shape:<14} {parameters:>12} parameters {flops:10.2} GFLOPs {each}   {about}"
                )?;
            }
        }
        Ok(())
    }
}
