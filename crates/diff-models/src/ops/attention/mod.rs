//! Attention between the pixels of a map.

mod cpu;
mod expression;

pub use expression::softmax;

use super::mismatch;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// softmax(q k^T / sqrt(d)) v with `heads` heads of width d = C / heads.
///
/// `q` is `[B, N, C]`, `k` and `v` are `[B, M, C]`; the result is `[B, N, C]`. Head h owns channels
/// h d .. (h + 1) d. Rows may also be the pixels of maps, `[B, H, W, C]`.
///
/// # Errors
/// When the shapes do not fit or C does not split into `heads`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, _, channels) = rows(q)?;
    let of_keys = rows(k)?;
    if k.dims() != v.dims() || (of_keys.0, of_keys.2) != (batch, channels) {
        return Err(mismatch("attention", q, "keys and values", k));
    }
    if heads == 0 || channels % heads != 0 {
        return Err(Error::Input(format!(
            "attention: {channels} channels do not split into {heads} heads"
        )));
    }
    if q.elem_count() == 0 {
        return Ok(q.clone());
    }
    if k.elem_count() == 0 {
        return Err(Error::Input(format!("attention: no keys, {:?}", k.dims())));
    }
    match q.device().is_cpu() {
        true => cpu::attention(q, k, v, heads),
        false => expression::attention(q, k, v, heads),
    }
}

/// How queries, keys and values of all heads lie side by side in a row of 3 C channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvOrder {
    /// `[head][q, k, v][width]`: guided-diffusion's older order.
    ByHead,
    /// `[q, k, v][head][width]`: its newer one.
    ByKind,
}

/// [`attention`] among rows that hold queries, keys and values alike: `qkv` is `[B, N, 3 C]` or
/// `[B, H, W, 3 C]`, the result `[B, N, C]` or `[B, H, W, C]`.
///
/// # Errors
/// When the channels do not split into three times `heads`.
pub fn self_attention(qkv: &Tensor, heads: usize, order: QkvOrder) -> Result<Tensor> {
    let (_, _, channels) = rows(qkv)?;
    if heads == 0 || channels % (3 * heads) != 0 {
        return Err(Error::Input(format!(
            "attention: {channels} channels do not split into queries, keys and values of {heads} \
             heads"
        )));
    }
    if qkv.elem_count() == 0 {
        return Ok(qkv.narrow(qkv.rank() - 1, 0, channels / 3)?);
    }
    match qkv.device().is_cpu() {
        true => cpu::self_attention(qkv, heads, order),
        false => expression::self_attention(qkv, heads, order),
    }
}

/// Batch, rows and channels.
fn rows(x: &Tensor) -> Result<(usize, usize, usize)> {
    match *x.dims() {
        [batch, rows, channels] => Ok((batch, rows, channels)),
        [batch, height, width, channels] => Ok((batch, height * width, channels)),
        _ => Err(Error::Input(format!(
            "attention: expected [B, N, C] or [B, H, W, C], got {:?}",
            x.dims()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        // More queries than are taken at once; widths and lengths that are no whole vectors.
        for (batch, n, m, heads, width) in
            [(2, 70, 70, 1, 32), (1, 5, 3, 2, 3), (3, 64, 33, 2, 16), (1, 1, 1, 1, 1)]
        {
            let channels = heads * width;
            let inputs = [
                wave(&[batch, n, channels], 0.7),
                wave(&[batch, m, channels], 0.3),
                wave(&[batch, m, channels], 0.9),
            ];
            same(
                &inputs,
                |x| cpu::attention(&x[0], &x[1], &x[2], heads),
                |x| expression::attention(&x[0], &x[1], &x[2], heads),
            );
        }
    }

    #[test]
    fn joint_rows_are_what_their_parts_are() {
        for (batch, n, heads, width) in [(2, 70, 1, 32), (1, 5, 2, 3), (3, 64, 3, 16)] {
            for order in [QkvOrder::ByHead, QkvOrder::ByKind] {
                same(
                    &[wave(&[batch, n, 3 * heads * width], 0.7)],
                    |x| cpu::self_attention(&x[0], heads, order),
                    |x| expression::self_attention(&x[0], heads, order),
                );
            }
        }
    }
}
