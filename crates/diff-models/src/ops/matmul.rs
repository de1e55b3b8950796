//! The matrix product every other operation rests on.

use crate::error::Result;
use candle_core::Tensor;

/// `a` `[m, k]` times `b` `[k, n]`, `b` row-major: a row's bits do not depend on how many rows
/// there are.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((m, k), n) = (a.dims2()?, b.dim(1)?);
    let rows = m.max(least_rows(k, n));
    let a = if m < rows { a.pad_with_zeros(0, 0, rows - m)? } else { a.clone() };
    let b = if n == 1 { b.pad_with_zeros(1, 0, 1)? } else { b.clone() };
    let out = a.matmul(&b)?;
    let out = if m < rows { out.narrow(0, 0, m)? } else { out };
    Ok(if n == 1 { out.narrow(1, 0, 1)?.contiguous()? } else { out })
}

/// The rows from which on the `gemm` crate (0.19) adds up in one order.
///
/// A single row takes a path of its own. Up to 64 rows and columns, sums over k are cut every 512
/// terms; beyond, into equal parts.
pub(super) fn least_rows(k: usize, n: usize) -> usize {
    if k > 512 && n <= 64 { 65 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_row_has_the_same_bits_among_any_number_of_rows() {
        let wave = |rows: usize, columns: usize, step: f64| {
            let values: Vec<f32> =
                (0..rows * columns).map(|i| (step * i as f64).sin() as f32).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        for k in [3, 64, 513, 1152] {
            for n in [1, 2, 3, 16, 64, 65] {
                let (a, b) = (wave(300, k, 0.71), wave(k, n, 0.37));
                let all = matmul(&a, &b).unwrap().to_vec2::<f32>().unwrap();
                for m in [1, 2, 3, 7, 16, 64, 65, 128] {
                    let part = matmul(&a.narrow(0, 0, m).unwrap(), &b).unwrap();
                    let part = part.to_vec2::<f32>().unwrap();
                    assert!(part == all[..m], "{m} x {k} x {n}");
                }
            }
        }
    }
}
