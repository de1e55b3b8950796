//! From an experiment to its cells, in the order they are run.

use super::{
    experiment::Experiment,
    task::{DrawSamples, MeasureSamples, Task, TrainModel},
};
use anyhow::Result;

/// One thing to do, once.
pub(crate) struct Cell {
    /// Its name: `train-sa2`, `sample-sa2-ddim-10`, `pixels-sa2-ddim-10`.
    pub(crate) name: String,
    /// What of the experiment it answers.
    pub(crate) subject: Subject,
    /// The earlier cell it starts from.
    pub(crate) input: Option<usize>,
    /// What it does.
    pub(crate) task: Box<dyn Task>,
}

/// A place in the experiment; the numbers index its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A trained model.
    Model(usize),
    /// Samples of a model by a sampler.
    Samples(usize, usize),
    /// A measure on the samples of a model by a sampler.
    Value(usize, usize, usize),
}

/// The cells of an experiment; a cell's input stands before it.
pub(crate) fn plan(experiment: &Experiment) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (m, model) in experiment.models.iter().enumerate() {
        cells.push(Cell {
            name: format!("train-{}", model.name),
            subject: Subject::Model(m),
            input: None,
            task: Box::new(TrainModel { config: experiment.config_of(model)? }),
        });
    }
    // The trainings stand first, so that model m is cell m.
    for (m, model) in experiment.models.iter().enumerate() {
        for (s, sampler) in experiment.samplers.iter().enumerate() {
            let samples = cells.len();
            cells.push(Cell {
                name: format!("sample-{}-{}", model.name, sampler.name),
                subject: Subject::Samples(m, s),
                input: Some(m),
                task: Box::new(DrawSamples {
                    sampler: sampler.clone(),
                    samples: experiment.sample.clone(),
                }),
            });
            for (v, measure) in experiment.measures.iter().enumerate() {
                let kind = measure.kind.name();
                cells.push(Cell {
                    name: format!("{kind}-{}-{}", model.name, sampler.name),
                    subject: Subject::Value(m, s, v),
                    input: Some(samples),
                    task: Box::new(MeasureSamples {
                        measure: measure.clone(),
                        images: experiment.sample.num,
                    }),
                });
            }
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_digits_have_every_model_by_sampler_by_measure_once() {
        let experiment = Experiment::load("digits", &[]).unwrap();
        let cells = plan(&experiment).unwrap();
        assert_eq!(cells.len(), 3 + 3 * 4 * 2);
        let names: BTreeSet<_> = cells.iter().map(|cell| &cell.name).collect();
        assert_eq!(names.len(), cells.len());
    }

    #[test]
    fn an_input_stands_before_its_cell_and_is_of_the_right_kind() {
        let cells = plan(&Experiment::load("quick", &[]).unwrap()).unwrap();
        for (i, cell) in cells.iter().enumerate() {
            assert!(cell.input.is_none_or(|input| input < i));
            match (cell.subject, cell.input.map(|input| cells[input].subject)) {
                (Subject::Model(_), None) => {}
                (Subject::Samples(m, _), Some(Subject::Model(n))) => assert_eq!(m, n),
                (Subject::Value(m, s, _), Some(Subject::Samples(n, r))) => {
                    assert_eq!((m, s), (n, r));
                }
                other => panic!("{}: {other:?}", cell.name),
            }
        }
    }
}
