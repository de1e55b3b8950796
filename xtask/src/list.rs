//! `cargo xtask list`: the experiments there are.

use crate::{
    reproduce::{
        experiment::{self, Experiment},
        plan,
    },
    workspace,
};
use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Lists the experiments: what they are about, how large they are, and whether a report of them
/// lies in runs/NAME.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// An experiment in a line.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    title: String,
    models: usize,
    samplers: usize,
    cells: usize,
    evidence: bool,
    /// The report of its last run.
    report: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let entries = entries(&experiment::folder(), &workspace::root().join("runs"))?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&json!({ "experiments": entries }))? + "\n",
        false => table(&entries),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn entries(folder: &Path, runs: &Path) -> Result<Vec<Entry>> {
    let names = experiment::list(folder)?;
    names
        .into_iter()
        .map(|name| {
            let path = folder.join(format!("{name}.toml"));
            let experiment = Experiment::load(&path.to_string_lossy(), &[])?;
            let report = runs.join(&name).join("report.html");
            Ok(Entry {
                title: experiment.title.clone(),
                models: experiment.models.len(),
                samplers: experiment.samplers.len(),
                cells: plan::plan(&experiment)?.len(),
                evidence: experiment.evidence,
                report: report.is_file().then_some(report),
                name,
            })
        })
        .collect()
}

fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0).max(10);
    let mut text =
        format!("{:<width$}  models  samplers  cells  evidence  report  title\n", "experiment");
    let word = |yes: bool| if yes { "yes" } else { "no" };
    for Entry { name, title, models, samplers, cells, evidence, report } in entries {
        let (evidence, report) = (word(*evidence), word(report.is_some()));
        text += &format!(
            "{name:<width$}  {models:>6}  {samplers:>8}  {cells:>5}  {evidence:<8}  {report:<6}  \
             {title}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_experiment_is_listed_with_its_size_and_its_report() {
        let runs = tempfile::tempdir().unwrap();
        fs::create_dir(runs.path().join("quick")).unwrap();
        let find = |entries: Vec<Entry>| entries.into_iter().find(|e| e.name == "quick").unwrap();
        let quick = find(entries(&experiment::folder(), runs.path()).unwrap());
        assert_eq!((quick.models, quick.samplers, quick.cells), (2, 2, 21));
        assert!(!quick.evidence && quick.report.is_none());
        fs::write(runs.path().join("quick/report.html"), "").unwrap();
        let quick = find(entries(&experiment::folder(), runs.path()).unwrap());
        assert!(quick.report.is_some());
        let text = table(&[quick]);
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(line[..6], ["quick", "2", "2", "21", "no", "yes"]);
    }

    #[test]
    fn an_experiment_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("odd.toml"), "titel = 'x'").unwrap();
        let error = format!("{:#}", entries(folder.path(), folder.path()).unwrap_err());
        assert!(error.contains("odd.toml") && error.contains("titel"), "{error}");
    }
}
