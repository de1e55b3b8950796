use super::*;
use crate::ops::{linear, scale, silu};
use candle_core::{Device, Var};

fn wave(shape: &[usize], step: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (step * i as f64 + 0.2).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Two layers, one of them used twice: more leaves than an operation of candle's has inputs.
struct Network {
    weights: [Var; 2],
    biases: [Var; 2],
}

impl Network {
    fn new() -> Self {
        let var = |shape: &[usize], step| Var::from_tensor(&wave(shape, step)).unwrap();
        Network {
            weights: [var(&[4, 4], 0.7), var(&[4, 4], 0.3)],
            biases: [var(&[4], 1.1), var(&[4], 0.9)],
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let first = |x: &Tensor| linear(x, &self.weights[0], &self.biases[0]);
        let h = silu(&first(x)?)?;
        let h = scale(&add(&first(&h)?, x)?, 0.5)?;
        add(&linear(&h, &self.weights[1], &self.biases[1])?, &h)
    }

    fn variables(&self) -> impl Iterator<Item = &Var> {
        self.weights.iter().chain(&self.biases)
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// A loss that uses a weight by itself too.
fn loss(network: &Network, y: &Tensor) -> Tensor {
    let penalty = network.weights[1].sqr().unwrap().sum_all().unwrap();
    (y.sqr().unwrap().sum_all().unwrap() + penalty).unwrap()
}

#[test]
fn a_recorded_network_has_the_gradients_of_its_operations() {
    let (network, x) = (Network::new(), Var::from_tensor(&wave(&[3, 4], 0.5)).unwrap());
    let plain = loss(&network, &network.forward(&x).unwrap()).backward().unwrap();
    let recorded = || {
        let y = record(&[&x], || network.forward(&x)).unwrap();
        loss(&network, &y)
    };
    let through_candle = recorded().backward().unwrap();
    let mut collected = backward(&recorded()).unwrap();
    for var in network.variables().chain([&x]) {
        let expected = values(plain.get(var).unwrap());
        let collected = values(&collected.take(var).unwrap().unwrap());
        for found in [values(through_candle.get(var).unwrap()), collected] {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-14 * (1.0 + b.abs());
            assert!(found.iter().zip(&expected).all(close), "{found:?} {expected:?}");
        }
    }
}

#[test]
fn nothing_is_recorded_without_variables() {
    let x = wave(&[3, 4], 0.5);
    let y = record(&[&x], || scale(&silu(&x)?, 2.0)).unwrap();
    assert!(!y.track_op());
    assert_eq!(values(&y), values(&scale(&silu(&x).unwrap(), 2.0).unwrap()));
}

#[test]
fn an_operation_that_is_not_recorded_is_refused() {
    let (network, x) = (Network::new(), wave(&[3, 4], 0.5));
    let between = record(&[&x], || {
        let y = network.forward(&x)?;
        network.forward(&(y * 2.0)?)
    });
    let at_the_end = record(&[&x], || Ok((network.forward(&x)? * 2.0)?));
    let on_a_variable =
        record(&[&x], || linear(&x, &network.weights[0].affine(2.0, 0.0)?, &network.biases[0]));
    for result in [between, at_the_end, on_a_variable] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("not recorded"), "{message}");
    }
    // The next network starts afresh.
    assert!(record(&[&x], || network.forward(&x)).is_ok());
}

#[test]
fn a_gradient_is_taken_once() {
    let (network, x) = (Network::new(), wave(&[3, 4], 0.5));
    let y = record(&[&x], || network.forward(&x)).unwrap().sum_all().unwrap();
    assert!(y.backward().is_ok());
    let message = y.backward().unwrap_err().to_string();
    assert!(message.contains("taken before"), "{message}");
}

#[test]
fn numbers_of_other_types_are_refused() {
    let half = wave(&[3, 4], 0.5).to_dtype(DType::F16).unwrap();
    let message = silu(&half).unwrap_err().to_string();
    assert!(message.contains("silu") && message.contains("F16"), "{message}");
}
