//! What makes an experiment impossible, refused by name.

use super::{Experiment, Taken};
use anyhow::{Result, bail};
use diff_core::{Error, config::nearest};
use std::collections::BTreeSet;
use toml::Table;

pub(super) fn check(experiment: &Experiment) -> Result<()> {
    names("models", experiment.models.iter().map(|model| model.name.as_str()))?;
    names("samplers", experiment.samplers.iter().map(|sampler| sampler.name.as_str()))?;
    if !experiment.measures.is_empty() {
        names("measures", experiment.measures.iter().map(|measure| measure.name()))?;
    }
    if !experiment.figures.is_empty() {
        names("figures", experiment.figures.iter().map(|figure| figure.name()))?;
    }
    let sample = &experiment.sample;
    at_least_one("sample.num", sample.num)?;
    at_least_one("sample.batch", sample.batch)?;
    at_least_one("sample.grid", sample.grid)?;
    for sampler in &experiment.samplers {
        at_least_one(&format!("samplers.{}.steps", sampler.name), sampler.steps)?;
        once(&format!("samplers.{}.seeds", sampler.name), &sampler.seeds)?;
    }
    once("seeds", &experiment.seeds)?;
    models(experiment)?;
    if let Some(classifier) = &experiment.classifier {
        no_folder("classifier.config.out", &classifier.config)?;
    }
    measures(experiment)?;
    references(experiment)
}

fn models(experiment: &Experiment) -> Result<()> {
    let samplers: Vec<&str> = experiment.samplers.iter().map(|s| s.name.as_str()).collect();
    for model in &experiment.models {
        if model.name == "classifier" {
            bail!(Error::argument("models.name", "classifier", "a name that is not taken"));
        }
        at_least_one(&format!("models.{}.times_steps", model.name), model.times_steps)?;
        once(&format!("models.{}.seeds", model.name), &model.seeds)?;
        for name in &model.samplers {
            known(&format!("models.{}.samplers", model.name), name, &samplers)?;
        }
        no_folder("config.out", &experiment.config_of(model, 0)?)?;
    }
    Ok(())
}

fn measures(experiment: &Experiment) -> Result<()> {
    for measure in &experiment.measures {
        if measure.kind.judges() && experiment.classifier.is_none() {
            let expected = "[classifier.config], whose features it is taken in";
            bail!(Error::argument("measures.kind", measure.kind.name(), expected));
        }
        let key = format!("measures.{}", measure.name());
        once(&format!("{key}.seeds"), &measure.seeds)?;
        let of_models = matches!(measure.kind.taken(), Taken::Model | Taken::Samples);
        if !of_models && !measure.seeds.is_empty() {
            bail!(Error::argument(format!("{key}.seeds"), "a list", "nothing: it sees no model"));
        }
        if let Some((name, value)) = measure.options.iter().find(|(_, value)| {
            !(value.is_str() || value.is_integer() || value.is_float() || value.is_bool())
        }) {
            bail!(Error::argument(format!("{key}.options.{name}"), value, "text or a number"));
        }
    }
    Ok(())
}

/// Names that contrasts and published numbers speak of.
fn references(experiment: &Experiment) -> Result<()> {
    let models: Vec<&str> = experiment.models.iter().map(|model| model.name.as_str()).collect();
    let samplers: Vec<&str> = experiment.samplers.iter().map(|s| s.name.as_str()).collect();
    for contrast in &experiment.contrasts {
        known("contrasts.model", &contrast.model, &models)?;
        known("contrasts.against", &contrast.against, &models)?;
    }
    for table in &experiment.tables {
        let key = |row: &str| format!("tables.{}.{row}", table.title);
        for row in &table.rows {
            let lengths = [row.cells.len(), row.published.len()];
            if let Some(length) = lengths.into_iter().find(|length| *length != table.columns.len())
            {
                let expected = format!("{}, one for every column", table.columns.len());
                bail!(Error::argument(key(&row.name), format!("{length} entries"), expected));
            }
            if let Some(cell) = row.cells.iter().find(|cell| experiment.answer(cell).is_none()) {
                let expected = "SAMPLER, MODEL/SAMPLER or MEASURE:FIELD of this experiment";
                bail!(Error::argument(key(&row.name), cell, expected));
            }
        }
    }
    for published in &experiment.published {
        known("published.model", &published.model, &models)?;
        known("published.against", &published.against, &models)?;
        known("published.sampler", &published.sampler, &samplers)?;
    }
    Ok(())
}

fn names<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            bail!(Error::argument(format!("{what}.name"), name, "letters, digits, - _ ."));
        }
        if !seen.insert(name) {
            bail!(Error::argument(format!("{what}.name"), name, "a name used once"));
        }
    }
    if seen.is_empty() {
        bail!(Error::argument(what, "nothing", "at least one"));
    }
    Ok(())
}

fn known(key: &str, name: &str, known: &[&str]) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, known.iter().copied());
    let hint = hint.map(|hint| format!("; did you mean `{hint}`?")).unwrap_or_default();
    bail!(Error::argument(key, name, format!("one of {}{hint}", known.join(", "))))
}

fn once(key: &str, seeds: &[u64]) -> Result<()> {
    let different: BTreeSet<&u64> = seeds.iter().collect();
    if different.len() < seeds.len() {
        bail!(Error::argument(key, format!("{seeds:?}"), "every seed once"));
    }
    Ok(())
}

fn no_folder(key: &str, config: &Table) -> Result<()> {
    if config.contains_key("out") {
        bail!(Error::argument(key, "a folder", "nothing: a run has its own"));
    }
    Ok(())
}

fn at_least_one(key: &str, value: u32) -> Result<()> {
    if value == 0 {
        bail!(Error::argument(key, value, "at least 1"));
    }
    Ok(())
}
