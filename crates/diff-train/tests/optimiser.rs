//! Adam, clipping and the moving average against torch and closed forms.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_models::params::{Init, ParamBuilder, Params};
use diff_train::optim::{
    AdagradConfig, AdamConfig, AdamWConfig, Decays, Ema, EmaStart, Gradients, Optimiser,
    OptimiserConfig,
};
use std::collections::HashMap;

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

/// `steps` steps from (0.5, -1, 2), and the weights they lead to.
fn walk(optimiser: &mut dyn Optimiser, (params, w): &(Params, Tensor), steps: usize, lr: f64) {
    for _ in 0..steps {
        let gradients = Gradients::of(&loss(w), params).unwrap();
        optimiser.step(params, &gradients, lr).unwrap();
    }
}

fn start() -> (Params, Tensor) {
    params(&[0.5, -1.0, 2.0])
}

/// Every optimiser, its learning rate, and where torch's goes in five steps:
///
/// ```text
/// w = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
/// o = torch.optim.Adam([w], lr=0.05, betas=(0.9, 0.99))               # or
///     torch.optim.Adam([w], lr=0.05, betas=(0.9, 0.99), weight_decay=0.3)
///     torch.optim.AdamW([w], lr=0.05, betas=(0.9, 0.99), weight_decay=0.3)
///     torch.optim.Adagrad([w], lr=0.1)
///     torch.optim.Adagrad([w], lr=0.1, lr_decay=0.2, weight_decay=0.3,
///                         initial_accumulator_value=0.5, eps=1e-3)
/// 5 x: o.zero_grad(); (w**4/4 + torch.arange(3.)*w).sum().backward(); o.step()
/// ```
fn cases() -> [(OptimiserConfig, f64, [f32; 3]); 5] {
    let adam = AdamConfig { beta2: 0.99, ..AdamConfig::default() };
    let adam_w = AdamWConfig { beta2: 0.99, weight_decay: 0.3, ..AdamWConfig::default() };
    let adagrad = AdagradConfig { eps: 1e-3, lr_decay: 0.2, weight_decay: 0.3, initial: 0.5 };
    [
        (OptimiserConfig::Adam(adam), 0.05, [0.266_484_68, -1.0, 1.751_577_5]),
        (
            OptimiserConfig::Adam(AdamConfig { weight_decay: 0.3, ..adam }),
            0.05,
            [0.257_954_2, -0.838_989_26, 1.751_511_8],
        ),
        (OptimiserConfig::AdamW(adam_w), 0.05, [0.240_820_93, -0.990_981_9, 1.614_622_4]),
        (
            OptimiserConfig::Adagrad(AdagradConfig::default()),
            0.1,
            [0.283_805_13, -1.0, 1.699_226_4],
        ),
        (OptimiserConfig::Adagrad(adagrad), 0.1, [0.393_343_87, -0.920_112_5, 1.756_843]),
    ]
}

#[test]
fn every_optimiser_takes_torchs_steps() {
    for (config, lr, expected) in cases() {
        let set = start();
        walk(config.build(&set.0).unwrap().as_mut(), &set, 5, lr);
        for (got, expected) in read(&set.0).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{config:?}: {got} {expected}");
        }
    }
}

#[test]
fn an_optimiser_that_was_put_away_goes_on_bit_for_bit() {
    for (config, lr, _) in cases() {
        let straight = start();
        walk(config.build(&straight.0).unwrap().as_mut(), &straight, 5, lr);

        let set = start();
        let mut optimiser = config.build(&set.0).unwrap();
        walk(optimiser.as_mut(), &set, 2, lr);
        let state: HashMap<String, Tensor> = optimiser.state(&set.0).into_iter().collect();
        assert_eq!(state.len(), config.numbers_per_parameter());
        let mut again = config.build(&set.0).unwrap();
        again.restore(&set.0, 2, &state).unwrap();
        walk(again.as_mut(), &set, 3, lr);
        assert_eq!(read(&set.0), read(&straight.0), "{config:?}");

        let error = again.restore(&set.0, 2, &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains(".w: missing, expected shape [3]"), "{error}");
    }
}

#[test]
fn constants_out_of_range_are_refused_by_name() {
    for (text, key) in [
        ("kind = 'adam'\nbeta1 = 1.0", "beta1"),
        ("kind = 'adam-w'\nweight_decay = -1.0", "weight_decay"),
        ("kind = 'adagrad'\neps = 0.0", "eps"),
    ] {
        let config: OptimiserConfig = toml::from_str(text).unwrap();
        let error = config.build(&start().0).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("train.optimiser.{key}")), "{error}");
    }
}

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

fn follow(start: EmaStart) -> f64 {
    let (params, _) = params(&[1.0]);
    let mut ema = Ema::new(0.9, start, &params).unwrap();
    for weight in [2.0f32, -3.0, 5.0] {
        params.get("w").unwrap().set(&Tensor::new(&[weight], &Device::Cpu).unwrap()).unwrap();
        ema.update(&params).unwrap();
    }
    ema.weights()[0].1.to_vec1::<f32>().unwrap()[0] as f64
}

#[test]
fn averages_follow_their_recursion_from_either_start() {
    let recursion = |start: f64, weights: &[f64]| {
        weights.iter().fold(start, |shadow, weight| 0.9 * shadow + 0.1 * weight)
    };
    let initial = recursion(1.0, &[2.0, -3.0, 5.0]);
    assert!((follow(EmaStart::Initial) - initial).abs() < 1e-6);
    let first_step = recursion(2.0, &[-3.0, 5.0]);
    assert!((follow(EmaStart::FirstStep) - first_step).abs() < 1e-6);
}

#[test]
fn decays_are_a_number_or_a_list_and_out_of_range_is_refused() {
    #[derive(serde::Deserialize)]
    struct Section {
        ema: Decays,
    }
    let read = |text: &str| toml::from_str::<Section>(text).unwrap().ema;
    assert_eq!(read("ema = 0.99"), Decays(vec![0.99]));
    assert_eq!(read("ema = 0"), Decays(vec![0.0]));
    assert_eq!(read("ema = [0.999, 0.5]"), Decays(vec![0.999, 0.5]));
    for bad in ["ema = 1.0", "ema = []", "ema = [0.5, 0.5]", "ema = -0.1"] {
        assert!(read(bad).check().unwrap_err().to_string().contains("train.ema"), "{bad}");
    }
    assert!(toml::from_str::<Section>("ema = 'x'").is_err());
}

#[test]
fn a_parameter_cut_off_from_the_loss_is_named() {
    let (params, _) = params(&[1.0]);
    let other = Tensor::new(&[1f32], &Device::Cpu).unwrap().sum_all().unwrap();
    let error = Gradients::of(&other, &params).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("parameter w"), "{error}");
}
