//! What an experiment would cost: the trainer's own estimates, and the network evaluations of the
//! rest at their price.

use super::{
    experiment::flatten,
    plan::{Cell, Subject},
};
use crate::{report::text, workspace::Binaries};
use anyhow::{Context, Result, bail};
use diff_core::save::io_error;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{self, Command, Stdio},
};
use toml::Table;

/// The operations and seconds of a cell; seconds on one of this machine's threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) flops: f64,
    pub(crate) seconds: f64,
}

/// What `diff-train run --dry-run --json` says of a training.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Plan {
    /// Operations of the whole training.
    flops: f64,
    /// Operations of one forward pass of one picture.
    forward_flops: f64,
    /// Seconds of the whole training.
    seconds: f64,
}

/// The cost of every cell, in the order of the plan. Times are measured on a few small steps and on
/// one thread: they are guesses.
pub(crate) fn estimate(cells: &[Cell], binaries: &Binaries) -> Result<Vec<Cost>> {
    let folder = env::temp_dir().join(format!("diff-plan-{}", process::id()));
    fs::create_dir_all(&folder).map_err(io_error(&folder, "create folder"))?;
    let costs = Prices { binaries, folder: &folder, known: BTreeMap::new() }.of(cells);
    fs::remove_dir_all(&folder).map_err(io_error(&folder, "remove"))?;
    costs
}

struct Prices<'a> {
    binaries: &'a Binaries,
    folder: &'a Path,
    /// By configuration without its seed: seeds cost the same.
    known: BTreeMap<String, Plan>,
}

impl Prices<'_> {
    fn of(&mut self, cells: &[Cell]) -> Result<Vec<Cost>> {
        let mut plans: Vec<Option<Plan>> = Vec::new();
        let mut costs = Vec::new();
        for cell in cells {
            let inherited = cell.inputs.first().and_then(|input| plans[*input]);
            let (plan, cost) = match cell.task.evaluations() {
                None => {
                    let plan = self.ask(cell)?;
                    (Some(plan), Cost { flops: plan.flops, seconds: plan.seconds })
                }
                Some(evaluations) => {
                    let evaluations = if cell.inputs.is_empty() { 0.0 } else { evaluations };
                    (inherited, inherited.map_or(Cost::default(), |p| p.forward(evaluations)))
                }
            };
            plans.push(plan);
            costs.push(cost);
        }
        Ok(costs)
    }

    fn ask(&mut self, cell: &Cell) -> Result<Plan> {
        cell.task.prepare(self.folder)?;
        let config = self.folder.join("config.toml");
        let text = fs::read_to_string(&config).map_err(io_error(&config, "read"))?;
        let mut table: Table = text.parse()?;
        table.remove("seed");
        let key = serde_json::to_string(&flatten(&table))?;
        if let Some(plan) = self.known.get(&key) {
            return Ok(*plan);
        }
        let output = Command::new(self.binaries.path(cell.task.binary())?)
            .args(["run", "--dry-run", "--json", "--config"])
            .arg(&config)
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("planning {}", cell.name))?;
        if !output.status.success() {
            bail!("{}: {}", cell.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        let plan = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{}: the trainer's plan", cell.name))?;
        self.known.insert(key, plan);
        Ok(plan)
    }
}

impl Plan {
    /// A forward pass has a third of the operations of a training pass, and takes about a third of
    /// its time.
    fn forward(&self, evaluations: f64) -> Cost {
        let flops = self.forward_flops * evaluations;
        Cost { flops, seconds: self.seconds * flops / self.flops.max(1.0) }
    }
}

/// The plan, as the commands it comes to and what they cost.
pub(crate) fn describe(cells: &[Cell], costs: &[Cost], out: &Path, jobs: usize) -> Result<String> {
    let folder = |cell: &Cell| out.join("cells").join(format!("{}-KEY", cell.name));
    let mut page = String::new();
    for (i, (cell, cost)) in cells.iter().zip(costs).enumerate() {
        let inputs: Vec<_> = cell.inputs.iter().map(|input| folder(&cells[*input])).collect();
        let arguments = cell.task.arguments(&folder(cell), &inputs);
        page += &format!("{}. {}", i + 1, cell.name);
        if cost.flops > 0.0 {
            page += &format!("   {:.2e} FLOPs, about {}", cost.flops, text::seconds(cost.seconds));
        }
        page += &format!("\n   {} {}\n", cell.task.binary(), arguments.join(" "));
        if matches!(cell.subject, Subject::Model(_) | Subject::Classifier) {
            page += &format!("   {}\n", cell.task.config()?);
        }
    }
    let flops: f64 = costs.iter().map(|cost| cost.flops).sum();
    let seconds: f64 = costs.iter().map(|cost| cost.seconds).sum();
    page += &format!(
        "\n{} cells, {flops:.2e} FLOPs, about {} on one thread, {} with {jobs} jobs\n",
        cells.len(),
        text::seconds(seconds),
        text::seconds(seconds / jobs as f64)
    );
    Ok(page)
}
