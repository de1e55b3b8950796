//! Spherical interpolation of latents (DDIM, appendix D.5, equation 67; Shoemake, 1985): mixtures of two
//! normal vectors keep the length that normal vectors have.

use crate::Result;
use candle_core::{DType, Tensor};
use diff_core::Error;

/// sin((1-u) theta) / sin(theta) a + sin(u theta) / sin(theta) b, where theta is the angle of `a` and `b`:
/// `a` at u = 0, `b` at u = 1. Linear where there is no angle, or sin(theta) < 1e-6: vectors that are zero,
/// parallel or opposite. Both are of one length.
pub fn slerp(a: &[f64], b: &[f64], u: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt());
    let theta = cosine.clamp(-1.0, 1.0).acos();
    // Of a zero vector the cosine is no number.
    let (of_a, of_b) = match theta.sin() >= 1e-6 {
        true => (((1.0 - u) * theta).sin() / theta.sin(), (u * theta).sin() / theta.sin()),
        false => (1.0 - u, u),
    };
    a.iter().zip(b).map(|(a, b)| of_a * a + of_b * b).collect()
}

/// `count` latents from `a` to `b`, at u = 0, 1 / (count - 1), .., 1: `[count, C, H, W]` of two
/// `[C, H, W]`.
///
/// # Errors
/// Fewer than 2, shapes that differ.
pub fn line(a: &Tensor, b: &Tensor, count: usize) -> Result<Tensor> {
    let steps = shares("line", count)?;
    let (from, to) = (flat(a, a)?, flat(b, a)?);
    stack(steps.iter().map(|u| slerp(&from, &to, *u)), a)
}

/// `count` rows of `count` latents between four corners `[C, H, W]`: top left, bottom left, top right and
/// bottom right. Row u, column v is slerp(left, right, v) with left = slerp(a, b, u) and
/// right = slerp(c, d, u). `[count * count, C, H, W]`, row by row.
///
/// # Errors
/// Fewer than 2, shapes that differ.
pub fn grid(corners: [&Tensor; 4], count: usize) -> Result<Tensor> {
    let steps = shares("grid", count)?;
    let like = corners[0];
    let flat = corners.map(|corner| flat(corner, like));
    let [a, b, c, d] = flat;
    let (a, b, c, d) = (a?, b?, c?, d?);
    let mut cells = Vec::with_capacity(count * count);
    for u in &steps {
        let (left, right) = (slerp(&a, &b, *u), slerp(&c, &d, *u));
        cells.extend(steps.iter().map(|v| slerp(&left, &right, *v)));
    }
    stack(cells.into_iter(), like)
}

fn shares(name: &str, count: usize) -> Result<Vec<f64>> {
    if count < 2 {
        return Err(Error::argument(name, count, "at least 2, both ends").into());
    }
    Ok((0..count).map(|i| i as f64 / (count - 1) as f64).collect())
}

fn flat(x: &Tensor, like: &Tensor) -> Result<Vec<f64>> {
    if x.shape() != like.shape() {
        let (found, expected) = (x.dims(), like.dims());
        let message = format!("a latent of shape {found:?} beside one of {expected:?}");
        return Err(crate::Error::Mismatch(message));
    }
    Ok(x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn stack(rows: impl Iterator<Item = Vec<f64>>, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f64> = rows.flatten().collect();
    let mut shape = vec![values.len() / like.elem_count().max(1)];
    shape.extend_from_slice(like.dims());
    Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Four latents `[1, 3, 3]`.
    fn waves() -> Tensor {
        let wave: Vec<f64> = (0..36).map(|i| (1.7 * f64::from(i)).sin()).collect();
        Tensor::from_vec(wave, (4, 1, 3, 3), &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f64> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn slerp_ends_at_its_ends_and_keeps_what_lengths_have_in_common() {
        let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        let (a, b) = ([3.0, 0.0, 4.0, 0.0], [0.0, -5.0, 0.0, 0.0]);
        assert_eq!((slerp(&a, &b, 0.0), slerp(&a, &b, 1.0)), (a.to_vec(), b.to_vec()));
        for u in [0.1, 0.25, 0.5, 0.9] {
            assert!((norm(&slerp(&a, &b, u)) - 5.0).abs() < 1e-12, "{u}");
            assert!(near(&slerp(&a, &b, u), &slerp(&b, &a, 1.0 - u)), "{u}");
        }
        // At right angles cosine and sine of the quarter turn; lengths that differ are mixed with it.
        let quarter = slerp(&[2.0, 0.0], &[0.0, 6.0], 1.0 / 3.0);
        let half = 0.5f64;
        assert!(near(&quarter, &[2.0 * 0.75f64.sqrt(), 6.0 * half]), "{quarter:?}");
        // Without an angle it is linear: equal, parallel, opposite and zero vectors.
        for (a, b) in
            [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 6.0]), ([1.0, 2.0], [-1.0, -2.0])]
        {
            for u in [0.0, 0.3, 0.5, 1.0] {
                let linear = [a[0] * (1.0 - u) + b[0] * u, a[1] * (1.0 - u) + b[1] * u];
                assert!(near(&slerp(&a, &b, u), &linear), "{a:?} {b:?} {u}");
            }
        }
        assert_eq!(slerp(&[0.0, 0.0], &[2.0, 4.0], 0.25), [0.5, 1.0]);
        assert_eq!(slerp(&[2.0, 4.0], &[0.0, 0.0], 0.25), [1.5, 3.0]);
        assert_eq!(slerp(&[0.0, 0.0], &[0.0, 0.0], 0.25), [0.0, 0.0]);
    }

    #[test]
    fn lines_and_grids_are_made_of_slerps_of_whole_latents() {
        let latents = waves();
        let corner: Vec<Tensor> = (0..4).map(|i| latents.get(i).unwrap()).collect();
        let flat: Vec<Vec<f64>> = corner.iter().map(values).collect();
        let row = line(&corner[0], &corner[1], 11).unwrap();
        assert_eq!(row.dims(), [11, 1, 3, 3]);
        for i in 0..11 {
            let expected = slerp(&flat[0], &flat[1], i as f64 / 10.0);
            assert_eq!(values(&row.get(i).unwrap()), expected, "{i}");
        }
        let square = grid([&corner[0], &corner[1], &corner[2], &corner[3]], 3).unwrap();
        assert_eq!(square.dims(), [9, 1, 3, 3]);
        let cell = |u: usize, v: usize| values(&square.get(3 * u + v).unwrap());
        let corners = [cell(0, 0), cell(2, 0), cell(0, 2), cell(2, 2)];
        assert_eq!(corners.to_vec(), flat);
        let (left, right) = (slerp(&flat[0], &flat[1], 0.5), slerp(&flat[2], &flat[3], 0.5));
        assert_eq!((cell(1, 0), cell(1, 1)), (left.clone(), slerp(&left, &right, 0.5)));
        let message = line(&corner[0], &corner[1], 1).unwrap_err().to_string();
        assert!(message.contains("line = 1") && message.contains("at least 2"), "{message}");
        assert!(line(&corner[0], &latents, 3).is_err());
    }
}
