use super::*;
use crate::{
    data::{Augment, Batch, DataConfig, open},
    draws::Draws,
    objective::Loss,
    optim::Decays,
};
use candle_core::DType;
use diff_models::params::{Init, ParamBuilder};

/// (w - 3)^2, or a number that is none at and after step `breaks`.
struct Parabola {
    steps: usize,
    breaks: usize,
}

impl Objective for Parabola {
    type Model = Tensor;

    fn loss(&mut self, w: &Tensor, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let step = draws.times(1, 10)?;
        let share = batch.x0.dim(0)? as f64 / step.len() as f64;
        let times = step[draws.part()].to_vec();
        let total = (w - 3.0)?.sqr()?.sum_all()?;
        let factor = if self.steps >= self.breaks { f64::NAN } else { 1.0 };
        let total = (total * (factor * share))?;
        Ok(Loss { total: total.clone(), parts: vec![("parabola", total)], times })
    }

    fn after_step(&mut self, _: &Tensor, _: &Batch) -> Result<()> {
        self.steps += 1;
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        vec![("steps".into(), Tensor::new(self.steps as f32, &Device::Cpu).unwrap())]
    }

    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        assert_eq!(state.len(), 1);
        self.steps = state[0].1.to_scalar::<f32>()? as usize;
        Ok(())
    }
}

fn trainer(breaks: usize, ema: f64) -> Trainer<Tensor> {
    let ema = Decays(vec![ema, 0.5]);
    let config = TrainConfig { lr: 0.1, batch: 4, ema, warmup: 5, ..TrainConfig::default() };
    with(config, breaks)
}

fn with(config: TrainConfig, breaks: usize) -> Trainer<Tensor> {
    let mut builder = ParamBuilder::init(0, DType::F32, &Device::Cpu);
    let w = builder.param("w", 1, Init::Zeros).unwrap();
    let params = builder.finish().unwrap();
    let loader = Loader::new(
        open(&DataConfig::default()).unwrap(),
        Default::default(),
        0,
        config.batch,
        false,
    )
    .unwrap();
    let objective = Box::new(Parabola { steps: 0, breaks });
    Trainer::new(Box::new(w), params, objective, loader, config, 0, Device::Cpu).unwrap()
}

fn value(weights: &[(String, Tensor)]) -> f32 {
    weights[0].1.to_vec1::<f32>().unwrap()[0]
}

#[test]
fn training_finds_the_minimum_and_the_average_lags_behind() {
    let mut trainer = trainer(usize::MAX, 0.9);
    let reports: Vec<_> = (0..100).map(|_| trainer.step().unwrap()).collect();
    assert_eq!((reports[0].step, reports[0].loss, reports[0].grad_norm), (1, 9.0, 6.0));
    assert!(reports[99].loss < 1e-2, "{}", reports[99].loss);
    let averaged = value(trainer.ema_weights());
    let raw = value(&trainer.state()[..1]);
    assert!((raw - 3.0).abs() < 0.1 && (averaged - raw).abs() > 1e-4, "{raw} {averaged}");
    let names: Vec<String> = trainer.state().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight.w", "mean.w", "square.w", "average-0.5.w", "objective.steps"]);
    let rates: Vec<f64> = reports.iter().take(6).map(|report| (report.lr * 1e6).round()).collect();
    assert_eq!(rates, [2e4, 4e4, 6e4, 8e4, 1e5, 1e5]);
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_step_and_leaves_the_weights() {
    let mut trainer = trainer(2, 0.0);
    trainer.step().unwrap();
    trainer.step().unwrap();
    let before = value(trainer.ema_weights());
    let message = trainer.step().unwrap_err().to_string();
    assert!(message.contains("step 3: the loss is not finite; time steps "), "{message}");
    assert!(message.contains("largest parameter w ("), "{message}");
    assert_eq!((trainer.steps(), value(&trainer.state()[..1])), (2, before));
}

#[test]
fn a_restored_trainer_goes_on_bit_for_bit() {
    let everything = |t: &Trainer<Tensor>| {
        let mut all = t.state();
        all.extend(t.ema_weights().iter().cloned());
        all.into_iter().map(|(_, x)| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    };
    let mut straight = trainer(usize::MAX, 0.9);
    (0..50).for_each(|_| drop(straight.step().unwrap()));
    let mut first = trainer(usize::MAX, 0.9);
    (0..17).for_each(|_| drop(first.step().unwrap()));
    let state = first.state().into_iter().collect();
    let averaged = first.ema_weights().iter().cloned().collect();
    let mut second = trainer(usize::MAX, 0.9);
    second.restore(17, state, averaged).unwrap();
    assert_eq!((second.steps(), second.images()), (17, 68));
    (17..50).for_each(|_| drop(second.step().unwrap()));
    let (a, b): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (everything(&straight), everything(&second));
    assert_eq!(a, b);

    let mut state: HashMap<String, Tensor> = first.state().into_iter().collect();
    state.remove("average-0.5.w");
    let averaged = first.ema_weights().iter().cloned().collect();
    let error = trainer(usize::MAX, 0.9).restore(17, state, averaged).unwrap_err().to_string();
    assert!(error.contains("average-0.5.w: missing"), "{error}");
}

#[test]
fn a_step_in_parts_is_the_same_step() {
    let walk = |accumulate: usize| {
        let config = TrainConfig { lr: 0.1, batch: 7, accumulate, ..TrainConfig::default() };
        let mut trainer = with(config, usize::MAX);
        let last = (0..20).map(|_| trainer.step().unwrap()).last().unwrap();
        (value(&trainer.state()[..1]), last.loss, last.grad_norm)
    };
    let whole = walk(1);
    for parts in [2, 3, 7] {
        let split = walk(parts);
        assert!((whole.0 - split.0).abs() < 1e-6, "{whole:?} {split:?}");
        assert!((whole.1 - split.1).abs() < 1e-5 && (whole.2 - split.2).abs() < 1e-5);
    }
}

#[test]
fn parts_cover_all_rows_and_none_is_empty() {
    for rows in 1..20 {
        for parts in 1..=rows {
            let ranges: Vec<_> = split(rows, parts).collect();
            assert_eq!(ranges.len(), parts);
            assert!(ranges.iter().all(|r| !r.is_empty()));
            assert_eq!(
                ranges.into_iter().flatten().collect::<Vec<_>>(),
                (0..rows).collect::<Vec<_>>()
            );
        }
    }
}

/// |w| by way of a root, whose gradient at 0 is no number.
struct Corner;

impl Objective for Corner {
    type Model = Tensor;

    fn loss(&mut self, w: &Tensor, _: &Batch, _: &dyn Draws) -> Result<Loss> {
        let total = w.sqr()?.sqrt()?.sum_all()?;
        Ok(Loss { total, parts: Vec::new(), times: vec![1, 10] })
    }
}

#[test]
fn a_gradient_that_is_not_finite_stops_though_the_loss_is_a_number() {
    let mut builder = ParamBuilder::init(0, DType::F32, &Device::Cpu);
    let w = builder.param("w", 1, Init::Zeros).unwrap();
    let params = builder.finish().unwrap();
    let config = TrainConfig { batch: 2, ..TrainConfig::default() };
    let data = open(&DataConfig::default()).unwrap();
    let loader = Loader::new(data, Augment::default(), 0, 2, false).unwrap();
    let objective = Box::new(Corner);
    let mut trainer =
        Trainer::new(Box::new(w), params, objective, loader, config, 0, Device::Cpu).unwrap();
    let message = trainer.step().unwrap_err().to_string();
    assert!(message.contains("step 1: the gradient is not finite"), "{message}");
    assert!(message.contains("1-1: 1, 10-10: 1"), "{message}");
    assert_eq!(value(&trainer.state()[..1]), 0.0);
}
