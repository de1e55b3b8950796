//! `diff-core`: prints schedules, trajectories and gap weights as tables, JSON, CSV or charts.

mod output;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use diff_core::{
    Error, Schedule, ScheduleKind, ScheduleSpec,
    gap::{Bounds, TauMode},
    report, save, trajectory,
};
use output::Output;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Diffusion mathematics: noise schedules, trajectories and the estimation gap.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every derived coefficient of a noise schedule, by paper time t = 1..=T
    Schedule(ScheduleCommand),
    /// The times a sampler visits, and the coefficients of its steps
    Trajectory(TrajectoryCommand),
    /// Weights of the estimation gap, and SA-DPM's Theorem 2 on random residuals
    Gap(GapCommand),
}

/// Which forward process.
#[derive(Args)]
struct Process {
    /// linear, linear-scaled, quadratic, cosine, sigmoid, constant, jsd, vp-sde or custom
    #[arg(long, visible_alias = "schedule", value_name = "KIND")]
    kind: Option<ScheduleKind>,
    /// T [default: 1000, or as many as a file has values]
    #[arg(long, value_name = "T")]
    timesteps: Option<usize>,
    /// beta_1 of linear, quadratic and sigmoid [default: 1e-4]
    #[arg(long, value_name = "B")]
    beta_start: Option<f64>,
    /// beta_T of linear, quadratic, sigmoid and constant [default: 0.02]
    #[arg(long, value_name = "B")]
    beta_end: Option<f64>,
    /// beta_1..beta_T, separated by white space or commas (kind custom)
    #[arg(long, value_name = "FILE", conflicts_with = "alpha_bars_file")]
    betas_file: Option<PathBuf>,
    /// alpha_bar_1..alpha_bar_T, separated by white space or commas (kind custom)
    #[arg(long, value_name = "FILE")]
    alpha_bars_file: Option<PathBuf>,
}

#[derive(Args)]
struct ScheduleCommand {
    #[command(flatten)]
    process: Process,
    /// Keep only the times of this trajectory (needs --steps)
    #[arg(long, value_name = "NAME", requires = "steps")]
    respace: Option<String>,
    /// S, the number of times kept by --respace
    #[arg(long, value_name = "S", requires = "respace")]
    steps: Option<usize>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct TrajectoryCommand {
    /// A trajectory (linear, quadratic, trailing, ddim-uniform, ddim-quad, bao-linear, bao-power:P,
    /// diffusers-leading:OFFSET, diffusers-linspace, diffusers-trailing, guided, guided-ddim, s2)
    /// or a list such as 1,10,100
    #[arg(long, default_value = "linear")]
    name: String,
    /// S
    #[arg(long, value_name = "S")]
    steps: usize,
    /// Noise scale of the DDIM family: 0 is DDIM, 1 is DDPM
    #[arg(long, default_value_t = 0.0)]
    eta: f64,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct GapCommand {
    #[command(flatten)]
    process: Process,
    /// Evaluate Theorem 2 for windows K = 1..=WINDOWS [default: 8, at most T]
    #[arg(long)]
    windows: Option<usize>,
    /// Weights in Theorem 2: on (tau), off (1) or normalised
    #[arg(long, default_value = "on", value_parser = tau_mode)]
    tau: TauMode,
    /// Entries of every random residual
    #[arg(long, default_value_t = 16)]
    width: usize,
    /// Seed of the random residuals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    diff_core::cli::exit(match Cli::parse().command {
        Command::Schedule(command) => command.run(),
        Command::Trajectory(command) => command.run(),
        Command::Gap(command) => command.run(),
    })
}

impl Process {
    fn schedule(&self) -> Result<Schedule> {
        let mut spec = ScheduleSpec {
            kind: self.kind.unwrap_or_default(),
            beta_start: self.beta_start,
            beta_end: self.beta_end,
            ..ScheduleSpec::default()
        };
        if let Some(file) = &self.betas_file {
            spec.betas = Some(numbers(file)?);
        }
        if let Some(file) = &self.alpha_bars_file {
            spec.alpha_bars = Some(numbers(file)?);
        }
        let listed = spec.betas.as_ref().or(spec.alpha_bars.as_ref()).map(Vec::len);
        if listed.is_some() && self.kind.is_none() {
            spec.kind = ScheduleKind::Custom;
        }
        spec.timesteps = self.timesteps.or(listed).unwrap_or(spec.timesteps);
        Ok(Schedule::new(&spec)?)
    }
}

impl ScheduleCommand {
    fn run(&self) -> Result<()> {
        let base = self.process.schedule()?;
        let mut about = describe(&base);
        let mut title = title(&base);
        let mut schedule = base;
        if let (Some(name), Some(steps)) = (&self.respace, self.steps) {
            let times = trajectory::resolve(name, steps, &schedule)?;
            schedule = schedule.respaced(&times)?;
            title += &format!(", respaced to {} times ({name})", times.len());
            about["respaced"] = json!({ "name": name, "steps": steps, "times": times });
        }
        let table = report::schedule_table(&schedule);
        self.output.print(about, &table, || report::schedule_chart(title, &table))
    }
}

impl TrajectoryCommand {
    fn run(&self) -> Result<()> {
        let schedule = self.process.schedule()?;
        let times = trajectory::resolve(&self.name, self.steps, &schedule)?;
        let table = report::trajectory_table(&schedule, &times, self.eta)?;
        let mut about = describe(&schedule);
        about["name"] = json!(self.name);
        about["steps"] = json!(self.steps);
        about["length"] = json!(times.len());
        about["eta"] = json!(self.eta);
        let title = format!("{}, S = {}, T = {}", self.name, self.steps, schedule.timesteps());
        self.output.print(about, &table, || report::trajectory_chart(title, &table))
    }
}

impl GapCommand {
    fn run(&self) -> Result<()> {
        let schedule = self.process.schedule()?;
        let windows = self.windows.unwrap_or(schedule.timesteps().min(8));
        let bounds = report::theorem2(&schedule, self.tau, windows, self.width, self.seed)?;
        let table = report::gap_table(&schedule);
        let mut about = describe(&schedule);
        about["tau"] = json!(self.tau);
        about["width"] = json!(self.width);
        about["seed"] = json!(self.seed);
        about["theorem2"] = bounds.iter().enumerate().map(theorem2_row).collect();
        let title = format!("Weights of the estimation gap: {}", title(&schedule));
        self.output.print(about, &table, || report::gap_chart(title, &table))?;
        if self.output.shows_text() {
            self.output.print_bounds(&bounds)?;
        }
        match bounds.iter().position(|bounds| !bounds.hold()) {
            Some(i) => bail!("Theorem 2 does not hold for K = {}: {:?}", i + 1, bounds[i]),
            None => Ok(()),
        }
    }
}

fn theorem2_row((i, bounds): (usize, &Bounds)) -> Value {
    json!({
        "k": i + 1,
        "upper": bounds.upper,
        "sequence_aware": bounds.sequence_aware,
        "lower": bounds.lower,
        "holds": bounds.hold(),
    })
}

fn describe(schedule: &Schedule) -> Value {
    let spec = schedule.spec();
    let (beta_start, beta_end) = spec.bounds();
    json!({
        "kind": spec.kind,
        "timesteps": spec.timesteps,
        "beta_start": beta_start,
        "beta_end": beta_end,
    })
}

fn title(schedule: &Schedule) -> String {
    format!("{} schedule, T = {}", schedule.spec().kind, schedule.timesteps())
}

fn tau_mode(text: &str) -> std::result::Result<TauMode, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "expected on, off or normalised".into())
}

fn numbers(path: &Path) -> Result<Vec<f64>, Error> {
    let text = fs::read_to_string(path).map_err(save::io_error(path, "read"))?;
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse().map_err(|_| Error::argument(path.display().to_string(), word, "a number"))
        })
        .collect()
}
