//! The feature spaces of published metrics, over their networks.

use super::{Features, Seen, Space, SpaceId, rows, spaces::Levels};
use crate::{Error, Result, pictures::Pictures};
use candle_core::{Device, Tensor};
use diff_models::{
    checkpoint::read_features, digest::sha256, hub, nets::features::FeatureNetwork,
    ops::resize_bilinear,
};
use std::path::Path;

/// What a published network makes of pictures.
#[derive(Debug)]
pub struct NetworkFeatures {
    space: Space,
    network: Box<dyn FeatureNetwork>,
    width: usize,
    name: String,
    sha256: String,
    batch: usize,
    device: Device,
}

impl NetworkFeatures {
    /// A space over the weights that `weights` names: a file, or `hub:org/name[@revision]:FILE`.
    ///
    /// `expected` is their SHA-256; without it they must be the published ones. Over any others the space
    /// has the name of its network and the beginning of that hash, so that a distance in it is never
    /// taken for the published metric.
    ///
    /// # Errors
    /// When the file is missing, or is another than expected: both hashes are named. When it does not
    /// hold this network.
    pub fn open(
        space: Space,
        weights: &str,
        expected: Option<&str>,
        (batch, device): (usize, &Device),
    ) -> Result<Self> {
        if batch == 0 {
            return Err(diff_core::Error::argument("batch", 0, "at least 1 picture").into());
        }
        let path = hub::file(weights)?;
        if !path.is_file() {
            let published = space.published;
            let message = format!(
                "no such file; expected the weights of {}, {} from {}",
                space.network, published.file, published.address
            );
            return Err(Error::File { path, message });
        }
        let found = sha256(&path)?;
        check(&space, &path, &found, expected)?;
        let network = read_features(space.network, &path, device)?;
        Ok(Self::over(space, network, found, (batch, device)))
    }

    /// A space over a network that was made already, of weights with this SHA-256, for `batch` pictures
    /// (at least 1) at a time.
    pub fn over(
        space: Space,
        network: Box<dyn FeatureNetwork>,
        sha256: String,
        (batch, device): (usize, &Device),
    ) -> Self {
        let tap = network.taps().into_iter().find(|tap| tap.name == space.taps.0);
        let name = match sha256 == space.published.sha256 {
            true => space.name.to_string(),
            false => format!("{}-{}", space.network, sha256.get(..8).unwrap_or(&sha256)),
        };
        NetworkFeatures {
            width: tap.map_or(0, |tap| tap.channels),
            space,
            network,
            name,
            sha256,
            batch,
            device: device.clone(),
        }
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }
}

/// Refuses weights with another hash than the one expected.
fn check(space: &Space, path: &Path, found: &str, expected: Option<&str>) -> Result<()> {
    let published = space.published;
    let wanted = expected.unwrap_or(published.sha256);
    if wanted.eq_ignore_ascii_case(found) {
        return Ok(());
    }
    let message = match expected {
        Some(_) => format!("SHA-256 {found}, expected {wanted}"),
        None => format!(
            "SHA-256 {found}, expected {wanted} ({} from {}); --weights-sha256 says that others are \
             meant, and the result then has another name",
            published.file, published.address
        ),
    };
    Err(Error::File { path: path.to_path_buf(), message })
}

impl Features for NetworkFeatures {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> SpaceId {
        SpaceId {
            name: self.name.clone(),
            preprocessing: self.space.preprocessing(),
            weights_sha256: self.sha256.clone(),
            width: self.width,
        }
    }

    fn is_inception(&self) -> bool {
        self.space.network == "inception-fid" && self.sha256 == self.space.published.sha256
    }

    fn knows_places(&self) -> bool {
        self.space.taps.2.is_some()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn shape(&self) -> Option<[usize; 3]> {
        None
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn prepare(&self, pictures: &Pictures) -> Result<Tensor> {
        let [h, w, c] = pictures.shape;
        if c != 3 {
            let message = format!("pictures of {c} channels, but {} takes 3", self.name);
            return Err(Error::Mismatch(message));
        }
        let unit = self.space.levels == Levels::Unit;
        let level = |v: &u8| if unit { f32::from(*v) / 255.0 } else { f32::from(*v) };
        let values: Vec<f32> = pictures.bytes.iter().map(level).collect();
        let x = Tensor::from_vec(values, (pictures.len(), h, w, 3), &self.device)?;
        let side = self.space.side;
        let x = resize_bilinear(&x, (side, side), self.space.grid)?;
        Ok(match self.space.levels {
            Levels::Unit => x.affine(2.0, -1.0)?,
            Levels::Centred => x.affine(1.0 / 128.0, -1.0)?,
            Levels::Symmetric => x.affine(1.0 / 127.5, -1.0)?,
        })
    }

    fn see(&self, prepared: &Tensor) -> Result<Seen> {
        let (features, logits, spatial) = self.space.taps;
        let wanted: Vec<&str> = [features, logits].into_iter().chain(spatial).collect();
        let mut found = self.network.activations(prepared, &wanted)?.into_iter();
        let mut next = || found.next().as_ref().map(rows).transpose();
        match (next()?, next()?) {
            (Some(features), Some(logits)) => Ok(Seen { features, logits, spatial: next()? }),
            _ => Err(Error::Mismatch(format!("{} gave no features", self.name))),
        }
    }
}
