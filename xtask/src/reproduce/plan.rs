//! From an experiment to its cells.

use super::{
    experiment::{Experiment, Measure, Taken},
    task::{DrawFigure, DrawSamples, Measuring, TakeCheckpoint, Task, TrainModel, Trained},
};
use anyhow::Result;

/// One thing to do, once.
pub(crate) struct Cell {
    /// Its name: `train-sa2`, `sample-sa2-ddim-10`, `fd-sa2-ddim-10`; `-s1` for the training seed
    /// where there are several.
    pub(crate) name: String,
    /// What of the experiment it answers.
    pub(crate) subject: Subject,
    /// The earlier cells it starts from.
    pub(crate) inputs: Vec<usize>,
    /// What it does.
    pub(crate) task: Box<dyn Task>,
}

/// A model trained from a seed; the model's number indexes the experiment's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    /// Which model.
    pub(crate) model: usize,
    /// From which training seed.
    pub(crate) seed: u64,
}

/// A place in the experiment; the numbers index its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The classifier.
    Classifier,
    /// A trained model.
    Model(Run),
    /// Samples of a model by a sampler.
    Samples(Run, usize),
    /// A figure of a model.
    Figure(Run, usize),
    /// A measure on the samples of a model by a sampler, on a model, or on the classifier.
    Value(Option<Run>, Option<usize>, usize),
}

/// The cells of an experiment; a cell's inputs stand before it.
pub(crate) fn plan(experiment: &Experiment) -> Result<Vec<Cell>> {
    let mut planner = Planner { experiment, cells: Vec::new(), classifier: None };
    planner.trainings()?;
    planner.rest();
    Ok(planner.cells)
}

struct Planner<'a> {
    experiment: &'a Experiment,
    cells: Vec<Cell>,
    classifier: Option<usize>,
}

impl Planner<'_> {
    /// The trainings stand first: they are long, and all else waits for them. Seed by seed, so that
    /// an experiment that is cut short has all models of its first seeds.
    fn trainings(&mut self) -> Result<()> {
        if let Some(classifier) = &self.experiment.classifier {
            let (config, what) = (classifier.config.clone(), Trained::Classifier);
            let task = Box::new(TrainModel { config, what });
            let name = "train-classifier".to_string();
            self.classifier = Some(self.push(name, Subject::Classifier, Vec::new(), task));
        }
        for run in self.runs() {
            let model = &self.experiment.models[run.model];
            let (verb, task): (_, Box<dyn Task>) = match &model.checkpoint {
                Some(checkpoint) => {
                    ("take", Box::new(TakeCheckpoint { checkpoint: checkpoint.clone() }))
                }
                None => {
                    let config = self.experiment.config_of(model, run.seed)?;
                    ("train", Box::new(TrainModel { config, what: Trained::Denoiser }))
                }
            };
            let name = format!("{verb}-{}", self.experiment.name_of(run));
            self.push(name, Subject::Model(run), Vec::new(), task);
        }
        Ok(())
    }

    /// Every model under every seed of its own.
    fn runs(&self) -> Vec<Run> {
        let models = self.experiment.models.iter().enumerate();
        let mut runs: Vec<(usize, Run)> = models
            .flat_map(|(m, model)| {
                let seeds = self.experiment.seeds_of(model).into_iter().enumerate();
                seeds.map(move |(i, seed)| (i, Run { model: m, seed }))
            })
            .collect();
        runs.sort_by_key(|(place, run)| (*place, run.model));
        runs.into_iter().map(|(_, run)| run).collect()
    }

    fn rest(&mut self) {
        self.measures(Taken::Nothing, None, None, None);
        self.measures(Taken::Classifier, None, None, None);
        for run in self.runs() {
            let trained = |cell: &Cell| cell.subject == Subject::Model(run);
            let input = self.cells.iter().position(trained);
            for s in self.experiment.samplers_of(run) {
                let sampler = &self.experiment.samplers[s];
                let name = format!("sample-{}-{}", self.experiment.name_of(run), sampler.name);
                let task = Box::new(DrawSamples::new(sampler, &self.experiment.sample));
                let inputs = input.into_iter().collect();
                let samples = self.push(name, Subject::Samples(run, s), inputs, task);
                self.measures(Taken::Samples, Some(run), Some(s), Some(samples));
            }
            self.measures(Taken::Model, Some(run), None, input);
            let first = self.experiment.seeds_of(&self.experiment.models[run.model]);
            for (f, figure) in self.experiment.figures.iter().enumerate() {
                if first.first() == Some(&run.seed) {
                    let name = format!("{}-{}", figure.name(), self.experiment.name_of(run));
                    let task = Box::new(DrawFigure::new(figure));
                    let inputs = input.into_iter().collect();
                    self.push(name, Subject::Figure(run, f), inputs, task);
                }
            }
        }
    }

    /// The measures of one kind of thing, on one of them.
    fn measures(
        &mut self,
        taken: Taken,
        run: Option<Run>,
        sampler: Option<usize>,
        input: Option<usize>,
    ) {
        for (v, measure) in self.experiment.measures.iter().enumerate() {
            if measure.kind.taken() != taken || !includes(measure, run) {
                continue;
            }
            let mut name = measure.name().to_string();
            if let Some(run) = run {
                name += &format!("-{}", self.experiment.name_of(run));
            }
            if let Some(sampler) = sampler {
                name += &format!("-{}", self.experiment.samplers[sampler].name);
            }
            let judge = measure.kind.judges().then_some(self.classifier).flatten();
            let inputs = input.into_iter().chain(judge).collect();
            let task = Box::new(Measuring::new(measure, self.experiment.sample.num));
            self.push(name, Subject::Value(run, sampler, v), inputs, task);
        }
    }

    fn push(
        &mut self,
        name: String,
        subject: Subject,
        inputs: Vec<usize>,
        task: Box<dyn Task>,
    ) -> usize {
        self.cells.push(Cell { name, subject, inputs, task });
        self.cells.len() - 1
    }
}

fn includes(measure: &Measure, run: Option<Run>) -> bool {
    measure.seeds.is_empty() || run.is_some_and(|run| measure.seeds.contains(&run.seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn cells(name: &str, overrides: &[&str]) -> Vec<Cell> {
        let overrides: Vec<_> = overrides.iter().map(|s| s.to_string()).collect();
        plan(&Experiment::load(name, &overrides).unwrap()).unwrap()
    }

    #[test]
    fn the_quick_run_has_every_model_by_sampler_by_measure_once() {
        let cells = cells("quick", &[]);
        let names: BTreeSet<_> = cells.iter().map(|cell| &cell.name).collect();
        assert_eq!(names.len(), cells.len());
        let count = |prefix: &str| cells.iter().filter(|c| c.name.starts_with(prefix)).count();
        assert_eq!((count("train-"), count("sample-"), count("fd-")), (3, 4, 4));
        assert_eq!((count("pixels-"), count("gap-"), count("floor")), (4, 2, 1));
    }

    #[test]
    fn inputs_stand_before_their_cell_and_are_of_the_right_kind() {
        let cells = cells("quick", &["seeds=[3, 4]"]);
        for (i, cell) in cells.iter().enumerate() {
            assert!(cell.inputs.iter().all(|input| *input < i), "{}", cell.name);
            let inputs: Vec<Subject> = cell.inputs.iter().map(|i| cells[*i].subject).collect();
            match (cell.subject, inputs.as_slice()) {
                (Subject::Model(_) | Subject::Classifier, []) => {}
                (Subject::Samples(run, _), [Subject::Model(of)]) => assert_eq!(run, *of),
                (Subject::Value(Some(run), Some(s), _), [Subject::Samples(of, by), rest @ ..]) => {
                    assert_eq!((run, s), (*of, *by));
                    assert!(rest.iter().all(|r| *r == Subject::Classifier));
                }
                (Subject::Value(Some(run), None, _), [Subject::Model(of)]) => assert_eq!(run, *of),
                (Subject::Value(None, None, _), [] | [Subject::Classifier]) => {}
                other => panic!("{}: {other:?}", cell.name),
            }
        }
    }

    #[test]
    fn a_sampler_of_some_seeds_samples_no_other() {
        let of_some = "samplers=[{ name = 'few', sampler = 'ddim', steps = 2 }, { name = 'many', \
                       sampler = 'ddim', steps = 9, seeds = [4] }]";
        let names: Vec<String> = cells("quick", &["seeds=[3, 4]", of_some])
            .into_iter()
            .map(|cell| cell.name)
            .filter(|name| name.starts_with("sample-sa2"))
            .collect();
        assert_eq!(names, ["sample-sa2-s3-few", "sample-sa2-s4-few", "sample-sa2-s4-many"]);
    }

    #[test]
    fn the_first_seed_of_every_model_is_trained_before_any_second() {
        let names: Vec<String> = cells("quick", &["seeds=[3, 4]"])
            .into_iter()
            .map(|cell| cell.name)
            .filter(|name| name.starts_with("train-"))
            .collect();
        assert_eq!(
            names,
            [
                "train-classifier",
                "train-baseline-s3",
                "train-sa2-s3",
                "train-baseline-s4",
                "train-sa2-s4"
            ]
        );
    }
}
