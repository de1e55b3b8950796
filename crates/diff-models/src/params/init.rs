//! First values.

use crate::error::Result;
use candle_core::{Device, Shape, Tensor};
use diff_core::rng::{Address, Purpose};

/// How a parameter starts; PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// Uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)): what Kaiming-uniform with a = sqrt(5) comes
    /// to, for weights and biases of convolutions and linear layers.
    FanIn(usize),
    /// Standard normal: embedding tables.
    Normal,
    /// Standard normal, but for so many zeros at the start.
    NormalAfter(usize),
    /// Uniform between -bound and bound.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// A table of sines and cosines, side by side, of numbers counted from 0: entry 2 i of row t is
    /// sin(t 10000^(-2 i / width)), the next one its cosine.
    Waves,
    /// Ones: norm scales.
    Ones,
    /// Zeros: norm offsets.
    Zeros,
}

/// First values of a network's parameter number `position`.
pub(super) fn draw(init: Init, shape: &Shape, seed: u64, position: usize) -> Result<Tensor> {
    let address = Address::new(seed, Purpose::Init).index(position as u64);
    let mut values = vec![0f32; shape.elem_count()];
    match init {
        Init::FanIn(fan_in) => uniform(address, 1.0 / (fan_in as f64).sqrt(), &mut values),
        Init::Uniform { bound } => uniform(address, bound, &mut values),
        Init::Normal => address.fill_normal(&mut values),
        Init::NormalAfter(zeros) => address.fill_normal(&mut values[zeros..]),
        Init::Waves => {
            let width = shape.dims().last().copied().unwrap_or(1).max(1);
            for (i, value) in values.iter_mut().enumerate() {
                let (row, column) = (i / width, i % width);
                let angle = row as f64 * 1e4f64.powf(-((column / 2 * 2) as f64) / width as f64);
                *value = if column % 2 == 0 { angle.sin() as f32 } else { angle.cos() as f32 };
            }
        }
        Init::Ones => values.fill(1.0),
        Init::Zeros => {}
    }
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn uniform(address: Address, bound: f64, values: &mut [f32]) {
    address.fill_uniform(values);
    values.iter_mut().for_each(|v| *v = (2.0 * *v - 1.0) * bound as f32);
}
