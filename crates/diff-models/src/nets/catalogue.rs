//! What `diff-models nets` shows.

use super::{Architecture, Family};
use crate::{error::Result, params::ParamBuilder};
use serde::Serialize;
use serde_json::Value;
use std::fmt::{self, Display, Formatter};

/// Every kind of denoising network.
#[derive(Clone, Debug, Serialize)]
pub struct Catalogue {
    /// In the order of [`Architecture::families`].
    pub families: Vec<Entry>,
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
        Ok(Catalogue { families: families.collect::<Result<_>>()? })
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
        let parameters = builder.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        Ok(Preset { name, image_shape, parameters, flops })
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
        Ok(())
    }
}
