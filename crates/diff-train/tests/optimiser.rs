//! Adam, clipping and the moving average against torch and closed forms.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_models::params::{Init, ParamBuilder, Params};
use diff_train::optim::{Adam, AdamConfig, Ema, Gradients};

fn params(values: &[f32]) -> (Params, Tensor) {
    let mut builder = ParamBuilder::init(0, DType::F32, &Device::Cpu);
    let w = builder.param("w", values.len(), Init::Zeros).unwrap();
    let params = builder.finish().unwrap();
    params.get("w").unwrap().set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
    (params, w)
}

fn read(params: &Params) -> Vec<f32> {
    params.get("w").unwrap().to_vec1().unwrap()
}

/// sum_i w_i^4 / 4 + i w_i: gradient w^3 + i.
fn loss(w: &Tensor) -> Tensor {
    let line = Tensor::arange(0f32, w.elem_count() as f32, &Device::Cpu).unwrap();
    let quartic = (w.sqr().unwrap().sqr().unwrap() * 0.25).unwrap();
    (quartic + (w * line).unwrap()).unwrap().sum_all().unwrap()
}

#[test]
fn adam_takes_torchs_steps() {
    // w = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    // o = torch.optim.Adam([w], lr=0.05, betas=(0.9, 0.99), eps=1e-8)
    // 5 x: o.zero_grad(); (w**4/4 + torch.arange(3.)*w).sum().backward(); o.step()
    let expected = TORCH_ADAM;
    let (params, w) = params(&[0.5, -1.0, 2.0]);
    let config = AdamConfig { beta2: 0.99, ..AdamConfig::default() };
    let mut adam = Adam::new(config, &params).unwrap();
    for _ in 0..5 {
        let gradients = Gradients::of(&loss(&w), &params).unwrap();
        adam.step(&params, &gradients, 0.05).unwrap();
    }
    for (got, expected) in read(&params).iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }
    assert_eq!(adam.steps(), 5);
    let names: Vec<String> = adam.state(&params).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["mean.w", "square.w"]);
}

const TORCH_ADAM: [f32; 3] = [0.266_484_68, -1.0, 1.751_577_5];

#[test]
fn clipping_scales_all_gradients_together_and_reports_the_norm_before() {
    let (params, w) = params(&[1.0, 2.0]);
    let gradients = || Gradients::of(&loss(&w), &params).unwrap(); // (1, 9)
    let norm = 82f64.sqrt();
    let mut clipped = gradients();
    assert!((clipped.clip(Some(1.0)).unwrap() - norm).abs() < 1e-6);
    assert!((clipped.norms().unwrap()[0].1 - 1.0).abs() < 1e-6);
    let mut free = gradients();
    assert!((free.clip(None).unwrap() - norm).abs() < 1e-6);
    assert!((free.clip(Some(100.0)).unwrap() - norm).abs() < 1e-6);
    assert!((free.norms().unwrap()[0].1 - norm).abs() < 1e-6);
}

#[test]
fn the_average_starts_at_the_initial_weights_and_follows_its_recursion() {
    let (params, _) = params(&[1.0]);
    let mut ema = Ema::new(0.9, &params).unwrap();
    let mut expected = 1.0;
    for weight in [2.0f32, -3.0, 5.0] {
        params.get("w").unwrap().set(&Tensor::new(&[weight], &Device::Cpu).unwrap()).unwrap();
        ema.update(&params).unwrap();
        expected = 0.9 * expected + 0.1 * weight as f64;
    }
    let shadow = ema.weights()[0].1.to_vec1::<f32>().unwrap()[0];
    assert!((shadow as f64 - expected).abs() < 1e-6, "{shadow} {expected}");
    assert!(Ema::new(1.0, &params).is_err());
}

#[test]
fn a_parameter_cut_off_from_the_loss_is_named() {
    let (params, _) = params(&[1.0]);
    let other = Tensor::new(&[1f32], &Device::Cpu).unwrap().sum_all().unwrap();
    let error = Gradients::of(&other, &params).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("parameter w"), "{error}");
}
