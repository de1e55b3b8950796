//! The families of denoising networks: one line each.

use super::{
    Classes,
    adm::AdmConfig,
    dddm::DddmConfig,
    heads::HeadsConfig,
    network::{Network, PredictionType, SecondType},
    spec::DdpmSpec,
    study::StudyConfig,
    unet::UnetConfig,
};
use crate::{
    error::{Error, Result},
    params::ParamBuilder,
};
use diff_core::config::nearest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt::Debug, sync::Arc};

/// What the networks of a family are built from.
pub trait Config: Debug {
    /// What `config.json` calls the family; none for another way to write down one that is listed
    /// as well.
    fn class() -> Option<&'static str>
    where
        Self: Sized;

    /// The family in a few words.
    fn about() -> &'static str
    where
        Self: Sized;

    /// Networks with names.
    fn presets() -> Vec<(&'static str, Self)>
    where
        Self: Sized;

    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible or not supported. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>>;

    /// C, H, W of the pictures it is made for, where it says.
    fn image_shape(&self) -> Option<[usize; 3]>;

    /// The classes it knows, if it is conditioned on them.
    fn classes(&self) -> Option<Classes>;

    /// Whether it is given an image besides, of the same shape.
    fn takes_image(&self) -> bool {
        false
    }

    /// What the first block of its output means, unless something else is known.
    fn prediction_type(&self) -> PredictionType {
        PredictionType::Epsilon
    }

    /// What the second block of its output means.
    fn second(&self) -> SecondType {
        SecondType::None
    }

    /// Its entries of `config.json`.
    fn to_json(&self) -> Value;
}

/// Networks of one kind.
#[derive(Clone, Debug)]
pub struct Family {
    /// `kind` in a configuration.
    pub kind: &'static str,
    /// What they are.
    pub about: &'static str,
    /// The options as they are unless given.
    pub options: Architecture,
    /// Those that have a name.
    pub presets: Vec<(&'static str, Architecture)>,
}

macro_rules! architectures {
    ($($(#[$doc:meta])* $name:ident($config:ty) = $kind:literal),* $(,)?) => {
        /// What a denoising network is built from. In a configuration `kind` names the family.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum Architecture {
            $($(#[$doc])* #[serde(rename = $kind)] $name(Box<$config>),)*
        }

        impl Architecture {
            /// `kind` in a configuration.
            pub fn kind(&self) -> &'static str {
                match self { $(Architecture::$name(_) => $kind,)* }
            }

            /// What `config.json` calls it; none for a description that a network replaces by its own.
            pub fn class(&self) -> Option<&'static str> {
                match self { $(Architecture::$name(_) => <$config as Config>::class(),)* }
            }

            /// What it says.
            pub fn config(&self) -> &dyn Config {
                match self { $(Architecture::$name(config) => config.as_ref(),)* }
            }

            /// From the entries of a `config.json` of a network that is called `class` there.
            ///
            /// # Errors
            /// When there is no such class, or the entries are not its.
            pub fn from_json(class: &str, config: Value) -> Result<Self> {
                let mut classes = Vec::new();
                $(if let Some(known) = <$config>::class() {
                    if known == class {
                        return serde_json::from_value(config)
                            .map(Architecture::$name)
                            .map_err(|e| Error::Input(e.to_string()));
                    }
                    classes.push(known);
                })*
                Err(Error::unsupported("_class_name", class, classes.join(", ")))
            }

            /// Every family.
            pub fn families() -> Vec<Family> {
                vec![$(Family {
                    kind: $kind,
                    about: <$config>::about(),
                    options: <$config>::default().into(),
                    presets: <$config>::presets()
                        .into_iter()
                        .map(|(name, config)| (name, config.into()))
                        .collect(),
                },)*]
            }
        }

        $(impl From<$config> for Architecture {
            fn from(config: $config) -> Self {
                Architecture::$name(Box::new(config))
            }
        })*
    };
}

architectures! {
    /// The DDPM U-Net in its paper's terms.
    Ddpm(DdpmSpec) = "ddpm",
    /// diffusers' `UNet2DModel`.
    Unet(UnetConfig) = "unet",
    /// The U-Net of guided-diffusion and improved-diffusion.
    Adm(AdmConfig) = "adm",
    /// The U-Net of DDDM.
    Dddm(DddmConfig) = "dddm",
    /// A U-Net with a second head on it.
    Heads(HeadsConfig) = "heads",
    /// The U-Nets of the DDPM / conditional study.
    Study(StudyConfig) = "study",
}

impl Default for Architecture {
    fn default() -> Self {
        DdpmSpec::default().into()
    }
}

impl Architecture {
    /// The network called `name`.
    ///
    /// # Errors
    /// When there is none, with the nearest name.
    pub fn preset(name: &str) -> Result<Self> {
        let mut names = Vec::new();
        for (known, architecture) in Self::families().into_iter().flat_map(|f| f.presets) {
            if known == name {
                return Ok(architecture);
            }
            names.push(known);
        }
        let hint = nearest(name, names.iter().copied())
            .map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
        Err(diff_core::Error::argument("preset", name, format!("{}{hint}", names.join(", ")))
            .into())
    }
}
