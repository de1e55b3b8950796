//! What the golden tests share: fill rules and relative distances.
// Every test binary uses its part.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod fill;
pub mod golden;
pub mod gradients;

pub use fill::{faint, fill, rectified, scatter, wave};

use candle_core::{DType, Tensor};

/// All values, flattened.
pub fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// ||a - b|| / ||b||.
pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}
