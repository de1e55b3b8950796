use anyhow::Context as _;
use candle_core::Device;
use clap::Args;
use diff_core::config;
use diff_models::pictures::{Grid, Pictures};
use diff_train::{
    config::RunConfig,
    data::{self, DataConfig, Dataset, Loader, Statistics},
};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

#[derive(Args)]
pub(crate) struct DataArgs {
    /// What `data.source` names: digits, cifar10, hub:[org/]name, a folder, a file.
    source: Option<String>,
    /// The part to look at: train or test.
    #[arg(long)]
    split: Option<String>,
    /// Side of the square that pictures are resized to.
    #[arg(long, value_name = "R")]
    resolution: Option<usize>,
    /// How a picture that is no square becomes one: crop, pad or stretch.
    #[arg(long)]
    fit: Option<String>,
    /// 1 (grey) or 3 (red, green, blue).
    #[arg(long)]
    channels: Option<usize>,
    /// The configuration, TOML; its `[data]` and `seed` are used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one value, e.g. `data.flip=true`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where the contact sheet goes.
    #[arg(long, value_name = "FILE", default_value = "contact.png")]
    sheet: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Pictures on the contact sheet.
const SHEET: usize = 64;

/// What is printed.
#[derive(Serialize)]
struct Summary<'a> {
    source: &'a str,
    pictures: usize,
    shape: [usize; 3],
    classes: Vec<Class<'a>>,
    unlabelled: u64,
    mean: Vec<f64>,
    std: Vec<f64>,
    sha256: &'a str,
    cache: Option<&'a Path>,
    report: &'a data::Report,
    sheet: &'a Path,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    pictures: u64,
}

/// Opens a data set, says what is in it, and draws the first batch of a training run.
pub(crate) fn data(args: &DataArgs) -> anyhow::Result<()> {
    let config = configuration(args)?;
    let data = data::open(&config.data)?;
    let statistics = Statistics::of(&data)?;
    sheet(&config.data, &data, config.seed, &args.sheet)?;
    eprintln!("contact sheet in {}", args.sheet.display());
    let counts = data.class_names().iter().zip(&statistics.classes);
    let summary = Summary {
        source: data.name(),
        pictures: data.len(),
        shape: data.shape(),
        classes: counts.map(|(name, n)| Class { name, pictures: *n }).collect(),
        unlabelled: statistics.unlabelled,
        mean: statistics.mean,
        std: statistics.std,
        sha256: data.sha256(),
        cache: data.folder(),
        report: data.report(),
        sheet: &args.sheet,
    };
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&summary)?)?,
        false => summary.print(&mut out)?,
    }
    Ok(())
}

fn configuration(args: &DataArgs) -> anyhow::Result<RunConfig> {
    let mut overrides = Vec::new();
    let mut set = |key: &str, value: Option<String>| {
        overrides.extend(value.map(|value| format!("data.{key}={value}")));
    };
    set("split", args.split.clone());
    set("resolution", args.resolution.map(|r| r.to_string()));
    set("fit", args.fit.clone());
    set("channels", args.channels.map(|c| c.to_string()));
    overrides.extend(args.set.iter().cloned());
    let mut config: RunConfig = config::load(args.config.as_deref(), &overrides)?;
    if let Some(source) = &args.source {
        config.data.source.clone_from(source);
    }
    Ok(config)
}

/// Draws what a network would be trained on first.
fn sheet(config: &DataConfig, data: &Dataset, seed: u64, path: &Path) -> anyhow::Result<()> {
    let count = data.len().min(SHEET);
    let augment = config.augment();
    let batch = Loader::new(data.clone(), augment, seed, count, false)?.batch(0, &Device::Cpu)?;
    let pictures = Pictures::from_tensor(&augment.transform.inverse(&batch.x0)?)?;
    let [_, h, w, c] = pictures.shape;
    let mut grid = Grid::new(count, [h, w, c]);
    (0..count).for_each(|i| grid.push(pictures.picture(i)));
    let note = format!("data {} sha256 {}", data.name(), data.sha256());
    grid.write(path, Some(&note)).with_context(|| path.display().to_string())
}

impl Summary<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let [c, h, w] = self.shape;
        writeln!(out, "source    {}", self.source)?;
        writeln!(out, "pictures  {} of {c}x{h}x{w}", self.pictures)?;
        for (label, Class { name, pictures }) in self.classes.iter().enumerate() {
            writeln!(out, "class     {label:<4} {pictures:>8}  {name}")?;
        }
        if self.unlabelled > 0 {
            writeln!(out, "no label  {:>13}", self.unlabelled)?;
        }
        for (channel, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            writeln!(out, "channel   {channel:<4} mean {mean:.4}  deviation {std:.4}")?;
        }
        for (what, n) in &self.report.bad {
            writeln!(out, "left out  {n:>13}  {what}")?;
        }
        for (what, n) in &self.report.decided {
            writeln!(out, "decided   {n:>13}  {what}")?;
        }
        if self.report.ignored > 0 {
            writeln!(out, "ignored   {:>13}  no picture by its name", self.report.ignored)?;
        }
        writeln!(out, "sha256    {}", self.sha256)?;
        let cache = self.cache.map_or("in memory".into(), |folder| folder.display().to_string());
        writeln!(out, "cache     {cache}")
    }
}
