//! The feature space of a classifier.

use super::{Features, Seen, SpaceId, rows};
use crate::{Error, Result, pictures::Pictures};
use candle_core::{Device, Tensor};
use diff_models::{Context, checkpoint::ClassifierCheckpoint, digest::sha256, nets::Classifier};

/// Features and logits of a trained classifier.
#[derive(Clone, Debug)]
pub struct ClassifierFeatures {
    classifier: Classifier,
    device: Device,
    name: String,
    data: Option<String>,
    sha256: String,
}

impl ClassifierFeatures {
    /// Opens a classifier's checkpoint; see [`ClassifierCheckpoint::open`] for what `spec` may be.
    /// The space is called by the last part of the name of the data set it was trained on, and
    /// `classifier` where the checkpoint does not tell.
    ///
    /// # Errors
    /// Names the file at fault: missing, damaged, of another network, or weights that do not fit.
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let checkpoint = ClassifierCheckpoint::open(spec, device)?;
        let data = checkpoint.data().map(str::to_string);
        let source = checkpoint.source.ok_or_else(|| Error::File {
            path: spec.into(),
            message: "weights that are in no file have no name to report".into(),
        })?;
        Ok(ClassifierFeatures {
            name: data.as_deref().map_or("classifier", short).to_string(),
            classifier: checkpoint.classifier,
            device: device.clone(),
            sha256: sha256(&source)?,
            data,
        })
    }

    /// The data set it was trained on, if its checkpoint tells.
    pub fn data(&self) -> Option<&str> {
        self.data.as_deref()
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Features for ClassifierFeatures {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> SpaceId {
        SpaceId {
            name: self.name.clone(),
            preprocessing: "2x - 1".into(),
            weights_sha256: self.sha256.clone(),
            width: self.width(),
        }
    }

    fn width(&self) -> usize {
        self.classifier.width()
    }

    fn shape(&self) -> Option<[usize; 3]> {
        let spec = self.classifier.spec();
        Some([spec.resolution, spec.resolution, spec.in_channels])
    }

    fn batch(&self) -> usize {
        64
    }

    fn prepare(&self, pictures: &Pictures) -> Result<Tensor> {
        self.check_shape(pictures.shape)?;
        let [h, w, c] = pictures.shape;
        let values: Vec<f32> = pictures.bytes.iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect();
        let x = Tensor::from_vec(values, (pictures.len(), h, w, c), &self.device)?;
        Ok(x.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn see(&self, prepared: &Tensor) -> Result<Seen> {
        let judgement = self.classifier.forward(prepared, &Context::Eval)?;
        Ok(Seen {
            features: rows(&judgement.features)?,
            logits: rows(&judgement.logits)?,
            spatial: None,
        })
    }
}

/// `digits` of `digits`, `cifar10` of `hub:uoft/cifar10@main` and `faces` of `data/faces`.
fn short(source: &str) -> &str {
    let name = source.split('?').next().unwrap_or(source);
    let name = name.strip_prefix("hub:").unwrap_or(name).trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('@').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::read;
    use diff_models::nets::ClassifierSpec;
    use std::path::Path;

    fn written(folder: &Path, data: Option<&str>) -> ClassifierFeatures {
        let spec = ClassifierSpec { channels: 8, ..ClassifierSpec::new(8, 1, 10) };
        let mut checkpoint = ClassifierCheckpoint::init(spec, 1, &Device::Cpu).unwrap();
        checkpoint.metadata.extend(data.map(|data| ("diff.data".into(), data.into())));
        let weights: Vec<_> = checkpoint.params.tensors().into_iter().collect();
        checkpoint.write(folder, &weights).unwrap();
        ClassifierFeatures::open(folder.to_str().unwrap(), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_picture_is_the_same_row_among_any_others() {
        let folder = tempfile::tempdir().unwrap();
        let features = written(&folder.path().join("model"), Some("digits"));
        assert_eq!((features.name(), features.width()), ("digits", 16));
        assert_eq!((features.data(), features.shape()), (Some("digits"), Some([8, 8, 1])));
        assert_eq!(features.id().weights_sha256.len(), 64);
        let pictures = read("digits:test").unwrap();
        let all = features.rows(&pictures).unwrap();
        assert_eq!((all.features.len(), all.logits.len(), all.logits.width()), (360, 360, 10));
        let few = features.rows(&pictures.select(&[300, 0, 65])).unwrap();
        assert_eq!(few.features, all.features.select(&[300, 0, 65]));
        assert_eq!(few.logits, all.logits.select(&[300, 0, 65]));
    }

    #[test]
    fn what_it_cannot_judge_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let features = written(&folder.path().join("model"), None);
        assert_eq!((features.name(), features.data()), ("classifier", None));
        let other = Pictures { shape: [4, 4, 3], bytes: vec![0; 48] };
        let error = features.rows(&other).unwrap_err().to_string();
        assert!(error.contains("[4, 4, 3]") && error.contains("[8, 8, 1]"), "{error}");
        let nothing = Pictures { shape: [8, 8, 1], bytes: Vec::new() };
        assert!(features.rows(&nothing).unwrap_err().to_string().contains("no pictures"));
        let gone = folder.path().join("none");
        let error = ClassifierFeatures::open(gone.to_str().unwrap(), &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn a_space_is_called_by_its_data() {
        for (source, name) in [
            ("digits", "digits"),
            ("hub:cifar10", "cifar10"),
            ("hub:uoft/cifar10@main", "cifar10"),
            ("data/faces/", "faces"),
        ] {
            assert_eq!(short(source), name);
        }
    }
}
