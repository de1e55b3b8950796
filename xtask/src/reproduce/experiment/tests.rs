use super::*;

fn set(overrides: &[&str]) -> Result<Experiment> {
    let overrides: Vec<_> = overrides.iter().map(|s| s.to_string()).collect();
    Experiment::load("digits", &overrides)
}

#[test]
fn every_experiment_of_the_project_is_sound() {
    for name in list(&folder()).unwrap() {
        let experiment = Experiment::load(&name, &[]).unwrap();
        assert_eq!(experiment.name, name);
    }
}

#[test]
fn twice_the_steps_follows_an_override_of_the_steps() {
    let experiment = set(&["config.train.steps=7"]).unwrap();
    let steps = |name: &str| {
        let model = experiment.models.iter().find(|model| model.name == name).unwrap();
        flatten(&experiment.config_of(model, 0).unwrap())["train.steps"].clone()
    };
    assert_eq!((steps("baseline").as_str(), steps("baseline-long").as_str()), ("7", "14"));
}

#[test]
fn a_model_s_own_seeds_go_before_the_experiment_s_and_those_before_the_configuration_s() {
    let seeds = |overrides: &[&str]| {
        let experiment = set(overrides).unwrap();
        experiment.seeds_of(&experiment.models[0])
    };
    assert_eq!(seeds(&["config.seed=4"]), [4]);
    assert_eq!(seeds(&["config.seed=4", "seeds=[1, 2]"]), [1, 2]);
    let mut experiment = set(&["seeds=[1, 2]"]).unwrap();
    experiment.models[0].seeds = vec![9];
    assert_eq!(experiment.seeds_of(&experiment.models[0]), [9]);
    let config = experiment.config_of(&experiment.models[0], 9).unwrap();
    assert_eq!(config["seed"], Value::Integer(9));
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    for (overrides, named) in [
        (["sample.num=0"], "sample.num"),
        (["sample.grid=0"], "sample.grid"),
        (["config.out=x"], "config.out"),
        (["sampel.num=3"], "did you mean `sample`"),
        (["config.train.steps=many"], "times_steps"),
        (["models=[]"], "models"),
        (["seeds=[1, 1]"], "seeds"),
        (["classifier.config.out=x"], "classifier.config.out"),
    ] {
        let error = format!("{:#}", set(&overrides).unwrap_err());
        assert!(error.contains(named), "{overrides:?}: {error}");
    }
    let error = Experiment::load("digit", &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean `digits`"), "{error}");
}

#[test]
fn a_name_that_is_nobody_s_is_refused_with_the_nearest() {
    let contrast = "contrasts=[{ model = 'sa', against = 'baseline', about = '' }]";
    let error = format!("{:#}", set(&[contrast]).unwrap_err());
    assert!(error.contains("did you mean `sa2`"), "{error}");
    let mut experiment = set(&[]).unwrap();
    experiment.models[0].samplers = vec!["ddpm-11".into()];
    let error = check::check(&experiment).unwrap_err().to_string();
    assert!(error.contains("did you mean `ddpm-10`"), "{error}");
    experiment = set(&[]).unwrap();
    experiment.classifier = None;
    let error = check::check(&experiment).unwrap_err().to_string();
    assert!(error.contains("classifier"), "{error}");
}
