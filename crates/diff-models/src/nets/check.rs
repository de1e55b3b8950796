//! Whether what a network is given fits it.

use super::Classes;
use crate::{
    Condition,
    error::{Error, Result},
};
use candle_core::Tensor;

/// `x` `[B, channels, H, W]` of sides that are multiples of `factor`, and a time for every row.
pub(super) fn input(
    x: &Tensor,
    network_time: &[f64],
    channels: usize,
    factor: usize,
) -> Result<()> {
    let Ok((batch, found, height, width)) = x.dims4() else {
        return Err(Error::Input(format!("x: expected [B, C, H, W], got {:?}", x.dims())));
    };
    if found != channels {
        return Err(Error::Input(format!(
            "x has {found} channels, the network takes {channels} (shape {:?})",
            x.dims()
        )));
    }
    if height == 0 || width == 0 || height % factor != 0 || width % factor != 0 {
        return Err(Error::Input(format!(
            "x is {height} x {width}: this network needs multiples of {factor}"
        )));
    }
    if network_time.len() != batch {
        return Err(Error::Input(format!(
            "{} times for a batch of {batch} rows",
            network_time.len()
        )));
    }
    Ok(())
}

/// The rows of the table of classes, where the network takes labels: one for each of `batch` rows.
pub(super) fn labels(
    batch: usize,
    condition: &Condition,
    classes: Option<Classes>,
) -> Result<Option<Vec<u32>>> {
    let (classes, labels) = match (classes, &condition.class) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(Error::Input("class labels given, but the network has no classes".into()));
        }
        (Some(_), None) => {
            return Err(Error::Input("the network needs a class label per row".into()));
        }
        (Some(classes), Some(labels)) => (classes, labels),
    };
    if labels.len() != batch {
        return Err(Error::Input(format!(
            "{} class labels for a batch of {batch} rows",
            labels.len()
        )));
    }
    labels.iter().map(|label| classes.row(*label)).collect::<Result<_>>().map(Some)
}

/// That there is no conditioning image.
pub(super) fn no_image(condition: &Condition) -> Result<()> {
    match condition.image {
        None => Ok(()),
        Some(_) => Err(Error::Input("this network takes no conditioning image".into())),
    }
}

/// The conditioning image: of the shape of `x`.
pub(super) fn image<'a>(x: &Tensor, condition: &'a Condition) -> Result<&'a Tensor> {
    match &condition.image {
        None => Err(Error::Input("the network needs a conditioning image per row".into())),
        Some(image) if image.dims() == x.dims() => Ok(image),
        Some(image) => Err(Error::Input(format!(
            "the conditioning image is {:?}, expected the shape of x, {:?}",
            image.dims(),
            x.dims()
        ))),
    }
}
