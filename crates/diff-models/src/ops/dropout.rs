use crate::{Context, error::Result};
use candle_core::Tensor;

/// Zeroes each element of `x` `[B, ...]` with probability `p` while training and scales the rest by
/// 1 / (1 - p); in [`Context::Eval`] `x` itself.
///
/// Row i draws its mask at `dropout.index + i` and at lane `dropout.lane + layer`, so a mask
/// depends on the sample and the layer, not on the batch.
pub fn dropout(x: &Tensor, p: f64, context: &Context, layer: u16) -> Result<Tensor> {
    let Context::Train { dropout } = context else { return Ok(x.clone()) };
    if p == 0.0 {
        return Ok(x.clone());
    }
    let rows = x.dim(0)?;
    let each = x.elem_count() / rows.max(1);
    let keep = (1.0 / (1.0 - p)) as f32;
    let mut mask = vec![0f32; x.elem_count()];
    for (i, row) in mask.chunks_mut(each.max(1)).enumerate() {
        let address =
            dropout.index(dropout.index + i as u64).lane(dropout.lane.wrapping_add(layer));
        address.fill_uniform(row);
        row.iter_mut().for_each(|u| *u = if (*u as f64) < p { 0.0 } else { keep });
    }
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use diff_core::rng::{Address, Purpose};

    fn mask(rows: usize, first: u64, layer: u16) -> Vec<Vec<f32>> {
        let x = Tensor::ones((rows, 5000), DType::F32, &Device::Cpu).unwrap();
        let dropout_at = Address::new(3, Purpose::Dropout).index(first).step(9);
        let context = Context::Train { dropout: dropout_at };
        dropout(&x, 0.25, &context, layer).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn a_mask_follows_its_sample_and_layer_not_its_batch() {
        let all = mask(3, 10, 1);
        assert_eq!(all[2], mask(1, 12, 1)[0]);
        assert_ne!(all[0], all[1]);
        assert_ne!(all[0], mask(1, 10, 2)[0]);
    }

    #[test]
    fn a_quarter_is_dropped_and_the_rest_is_scaled() {
        let row = &mask(1, 0, 0)[0];
        let dropped = row.iter().filter(|v| **v == 0.0).count() as f64;
        assert!((dropped - 1250.0).abs() < 4.0 * (5000.0f64 * 0.25 * 0.75).sqrt(), "{dropped}");
        assert!(row.iter().all(|v| *v == 0.0 || *v == 4.0 / 3.0));
    }

    #[test]
    fn inference_keeps_everything() {
        let x = Tensor::ones((1, 50), DType::F32, &Device::Cpu).unwrap();
        let kept = dropout(&x, 0.9, &Context::Eval, 0).unwrap().to_vec2::<f32>().unwrap();
        assert!(kept[0].iter().all(|v| *v == 1.0));
    }
}
