//! The network section: a denoiser of any family, a classifier, or a network over levels.

use crate::Result;
use diff_core::Error;
use diff_models::nets::{Architecture, CategoricalSpec, Classes, ClassifierSpec};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// What to train. In a configuration `kind` says whether it is a classifier or a network over levels, or
/// which family of denoisers it is of.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkConfig {
    /// A denoiser.
    Denoiser(Architecture),
    /// A classifier.
    Classifier(ClassifierSpec),
    /// A network that tells the levels of pixels.
    Categorical(CategoricalSpec),
}

/// What is no denoiser as it is written: with its `kind`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged<A, B> {
    Classifier(A),
    Categorical(B),
}

type Read = Tagged<ClassifierSpec, CategoricalSpec>;
type Written<'a> = Tagged<&'a ClassifierSpec, &'a CategoricalSpec>;

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig::Denoiser(Architecture::default())
    }
}

impl Serialize for NetworkConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NetworkConfig::Denoiser(architecture) => architecture.serialize(serializer),
            NetworkConfig::Classifier(spec) => Written::Classifier(spec).serialize(serializer),
            NetworkConfig::Categorical(spec) => Written::Categorical(spec).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Map::deserialize(deserializer)?;
        let apart = entries.get("kind").is_some_and(|kind| APART.iter().any(|k| kind == k));
        let entries = Value::Object(entries);
        let config = match apart {
            true => serde_json::from_value(entries).map(|tagged| match tagged {
                Read::Classifier(spec) => NetworkConfig::Classifier(spec),
                Read::Categorical(spec) => NetworkConfig::Categorical(spec),
            }),
            false => serde_json::from_value(entries).map(NetworkConfig::Denoiser),
        };
        config.map_err(|e| de::Error::custom(with_kinds_apart(e.to_string())))
    }
}

/// The kinds that are no denoisers.
const APART: [&str; 2] = ["classifier", "categorical"];

/// A denoiser's complaint about an unknown kind, and the kinds that are no denoisers.
fn with_kinds_apart(message: String) -> String {
    match message.starts_with("unknown variant") {
        true => format!("{message}, `{}`", APART.join("`, `")),
        false => message,
    }
}

impl NetworkConfig {
    /// Its name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            NetworkConfig::Denoiser(architecture) => architecture.kind(),
            NetworkConfig::Classifier(_) => "classifier",
            NetworkConfig::Categorical(_) => "categorical",
        }
    }

    /// The denoiser.
    ///
    /// # Errors
    /// When the network is none.
    pub fn denoiser(&self) -> Result<&Architecture> {
        match self {
            NetworkConfig::Denoiser(architecture) => Ok(architecture),
            NetworkConfig::Classifier(_) | NetworkConfig::Categorical(_) => {
                Err(Error::argument("network.kind", self.kind(), "a denoiser").into())
            }
        }
    }

    /// The classifier.
    ///
    /// # Errors
    /// When the network is none.
    pub fn classifier(&self) -> Result<&ClassifierSpec> {
        match self {
            NetworkConfig::Classifier(spec) => Ok(spec),
            NetworkConfig::Denoiser(_) | NetworkConfig::Categorical(_) => {
                Err(Error::argument("network.kind", self.kind(), "classifier").into())
            }
        }
    }

    /// The network over levels.
    ///
    /// # Errors
    /// When the network is none.
    pub fn categorical(&self) -> Result<&CategoricalSpec> {
        match self {
            NetworkConfig::Categorical(spec) => Ok(spec),
            NetworkConfig::Denoiser(_) | NetworkConfig::Classifier(_) => {
                Err(Error::argument("network.kind", self.kind(), "categorical").into())
            }
        }
    }

    /// C, H, W of the pictures it takes.
    ///
    /// # Errors
    /// When its configuration does not tell.
    pub fn image_shape(&self) -> Result<[usize; 3]> {
        match self {
            NetworkConfig::Denoiser(architecture) => {
                Ok(architecture.config().image_shape().ok_or_else(|| {
                    Error::argument("network.sample_size", "nothing", "the size of the pictures")
                })?)
            }
            NetworkConfig::Classifier(spec) => {
                Ok([spec.in_channels, spec.resolution, spec.resolution])
            }
            NetworkConfig::Categorical(spec) => {
                let [height, width] = spec.size()?;
                Ok([1, height, width])
            }
        }
    }

    /// The classes it knows or tells apart.
    pub fn classes(&self) -> Option<Classes> {
        match self {
            NetworkConfig::Denoiser(architecture) => architecture.config().classes(),
            NetworkConfig::Classifier(spec) => Some(Classes::new(spec.classes, false)),
            NetworkConfig::Categorical(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diff_core::config::{self, read};

    fn parse(text: &str) -> Result<NetworkConfig, String> {
        read(text, "test", &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn every_kind_survives_being_written() {
        for text in [
            "kind = 'ddpm'\nresolution = 16",
            "kind = 'unet'\nsample_size = 8\nfreq_shift = 1",
            "kind = 'adm'\nimage_size = 32\nchannel_mult = [1, 2, 2, 2]",
            "kind = 'classifier'\nresolution = 8\nin_channels = 1\nclasses = 10",
            "kind = 'categorical'\nbody = { kind = 'ddpm', in_channels = 2, out_channels = 2 }",
            "kind = 'categorical'\nbody = { kind = 'unet', sample_size = [8, 4] }",
        ] {
            let network = parse(text).unwrap();
            assert!(text.contains(network.kind()), "{network:?}");
            assert_eq!(parse(&config::text(&network).unwrap()).unwrap(), network);
        }
    }

    #[test]
    fn shapes_and_classes_are_those_of_the_kind() {
        let classifier = NetworkConfig::Classifier(ClassifierSpec::new(8, 1, 10));
        assert_eq!(
            (classifier.image_shape().unwrap(), classifier.classes().map(|c| c.count)),
            ([1, 8, 8], Some(10))
        );
        assert!(classifier.denoiser().is_err() && NetworkConfig::default().classifier().is_err());
        let levels = parse("kind = 'categorical'\nbody = { kind = 'unet', sample_size = [8, 4] }");
        let levels = levels.unwrap();
        assert_eq!((levels.image_shape().unwrap(), levels.classes()), ([1, 8, 4], None));
        assert!(levels.denoiser().is_err() && levels.classifier().is_err());
        assert!(classifier.categorical().is_err());
        let sizeless = parse("kind = 'unet'").unwrap().image_shape().unwrap_err().to_string();
        assert!(sizeless.contains("network.sample_size"), "{sizeless}");
    }

    #[test]
    fn unknown_kinds_and_options_are_refused_with_the_nearest_name() {
        for (text, words) in [
            ("kind = 'addm'", ["`addm`", "`classifier`, `categorical`", "did you mean `adm`"]),
            ("kind = 'adm'\nnum_head = 2", ["`num_head`", "expected", "did you mean `num_heads`"]),
            ("kind = 'categorical'", ["missing field", "`body`", "test"]),
            (
                "kind = 'categorical'\nbody = { kind = 'ddpm' }\nlevel = 2",
                ["`level`", "expected", "`body`"],
            ),
            ("resolution = 8", ["missing field", "`kind`", "test"]),
        ] {
            let message = parse(text).unwrap_err();
            for word in words {
                assert!(message.contains(word), "{word} is not in {message}");
            }
        }
    }
}
