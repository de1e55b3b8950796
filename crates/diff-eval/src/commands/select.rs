use super::space::{SpaceArgs, range};
use clap::Args;
use diff_core::progress::Progress;
use diff_eval::{
    Judge,
    select::{Event, Ranked, Selection, Trial},
};
use diff_sample::SamplerSpec;
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

#[derive(Args)]
pub(crate) struct SelectArgs {
    /// The run whose milestones are ranked; it may still be training.
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    #[command(flatten)]
    space: SpaceArgs,
    /// Go on until the run is finished, measuring milestones as they appear.
    #[arg(long)]
    watch: bool,
    /// Samples per milestone.
    #[arg(long, default_value_t = 1000)]
    num: usize,
    /// ddpm, ddpm-large, ddim or sigma-hat; see `diff-sample list`.
    #[arg(long, default_value = "ddim")]
    sampler: String,
    /// Steps S, in 1..=T.
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Noise of DDIM: 0 deterministic, 1 DDPM.
    #[arg(long)]
    eta: Option<f64>,
    /// Pictures made at a time.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seed of samples and resamples; judge the chosen weights with another.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Resamples that intervals are made of; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Between two looks into the run's folder.
const PAUSE: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &SelectArgs) -> anyhow::Result<()> {
    let features = args.space.open()?;
    let reference = args.space.reference(&features)?;
    let judge = Judge::new(&features, &reference.pictures)?;
    let trial = Trial {
        sampler: SamplerSpec {
            sampler: args.sampler.clone(),
            steps: Some(args.steps),
            trajectory: "linear".into(),
            eta: args.eta,
            clip: None,
        },
        num: args.num,
        batch: args.batch,
        seed: args.seed,
        bootstrap: args.bootstrap,
        device: features.device().clone(),
    };
    let sha256 = reference.pictures.sha256();
    let mut selection = Selection::open(&args.run, &judge, sha256, trial)?;
    let finished = loop {
        let finished = measure(&mut selection, args.num)?;
        if finished || !args.watch {
            break finished;
        }
        thread::sleep(PAUSE);
    };
    let ranking = selection.ranking()?;
    let mut out = io::stdout().lock();
    if args.json {
        let best = ranking.first().map(|best| args.run.join(&best.snapshot));
        let report = json!({
            "metric": judge.metric(),
            "run": args.run,
            "finished": finished,
            "best": best,
            "ranking": ranking,
            "terms": selection.terms()?,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    print(&mut out, &judge.metric(), &ranking)?;
    Ok(())
}

/// Measures what is new, with its progress on stderr.
fn measure(selection: &mut Selection, num: usize) -> diff_eval::Result<bool> {
    let mut progress: Option<Progress> = None;
    let finished = selection.update(&mut |event| match event {
        Event::Sampled(name, done) => {
            progress
                .get_or_insert_with(|| Progress::new(num as u64, "pictures"))
                .update(done, name);
        }
        Event::Known(ranked) => {
            if let Some(progress) = progress.take() {
                progress.finish();
            }
            eprintln!("{}: {:.4}", ranked.snapshot, ranked.measured.fd);
        }
    });
    if let Some(progress) = progress {
        progress.finish();
    }
    finished
}

fn print(out: &mut impl Write, metric: &str, ranking: &[Ranked]) -> io::Result<()> {
    let width = ranking.iter().map(|ranked| ranked.snapshot.len()).max().unwrap_or(0);
    let score = "classifier score";
    writeln!(out, "{:<width$}  {:>10}  {score:>16}  {metric}", "snapshot", "pictures")?;
    for Ranked { snapshot, images, measured, .. } in ranking {
        let images = images.map_or_else(String::new, |images| images.to_string());
        let interval = range(measured.fd_low, measured.fd_high);
        let (fd, cs) = (measured.fd, measured.cs);
        writeln!(out, "{snapshot:<width$}  {images:>10}  {cs:>16.4}  {fd:.4}{interval}")?;
    }
    Ok(())
}
