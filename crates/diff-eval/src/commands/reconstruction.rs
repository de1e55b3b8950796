use super::bench::{BenchArgs, for_every_model};
use clap::Args;
use diff_core::table::Table;
use diff_eval::{Reconstruction, ReconstructionRequest, STEPS, gap::Bench, reconstruct};
use diff_sample::latents::Start;
use serde_json::json;
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct ReconstructionArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// Pictures, the first of the data set [default: all].
    #[arg(long)]
    num: Option<u64>,
    /// Numbers of steps, up and down each [default: those of DDIM's table 2, as far as T goes].
    #[arg(long, value_delimiter = ',')]
    steps: Vec<usize>,
    /// quadratic, linear, trailing or a peer's list: the times visited.
    #[arg(long, default_value = "quadratic", value_name = "NAME")]
    trajectory: String,
    /// ddim or pf-euler.
    #[arg(long, default_value = "ddim")]
    sampler: String,
    /// clean: a first step takes pictures to the first time; first: they are taken to be at it.
    #[arg(long, default_value = "clean")]
    start: Start,
    /// Pictures at a time.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Resamples of the pictures that intervals are made of; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Seed of the resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ReconstructionArgs) -> anyhow::Result<()> {
    let bench = args.bench.open()?;
    let timesteps = bench.schedule.timesteps();
    let steps = match args.steps.as_slice() {
        [] => STEPS.into_iter().filter(|steps| *steps <= timesteps).collect(),
        given => given.to_vec(),
    };
    let request = ReconstructionRequest {
        num: args.num.unwrap_or(bench.pictures.len() as u64),
        batch: args.batch,
        sampler: args.sampler.clone(),
        steps,
        trajectory: args.trajectory.clone(),
        start: args.start,
        bootstrap: args.bootstrap,
        seed: args.seed,
    };
    request.check(&bench.schedule, &bench.pictures)?;
    let found = for_every_model(&bench, request.num, |_, subject, progress| {
        reconstruct(subject, &bench.pictures, &request, progress)
    })?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", report(&bench, &request, &found))?,
        false => print(&mut out, &bench, &request, &found)?,
    }
    Ok(())
}

fn report(
    bench: &Bench,
    request: &ReconstructionRequest,
    found: &[Vec<Reconstruction>],
) -> serde_json::Value {
    let measured = bench.models.iter().zip(found).map(|(model, rows)| {
        json!({
            "name": model.name,
            "checkpoint": model.spec,
            "weights_sha256": model.weights_sha256,
            "reconstruction": rows,
        })
    });
    json!({
        "num": request.num,
        "sampler": request.sampler,
        "trajectory": request.trajectory,
        "start": request.start,
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "data": bench.data,
        "data_sha256": bench.data_sha256,
        "timesteps": bench.schedule.timesteps(),
        "checkpoints": measured.collect::<Vec<_>>(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn print(
    out: &mut impl Write,
    bench: &Bench,
    request: &ReconstructionRequest,
    found: &[Vec<Reconstruction>],
) -> io::Result<()> {
    let ReconstructionRequest { num, sampler, trajectory, .. } = request;
    let data = &bench.data;
    writeln!(out, "{num} pictures of {data}, {sampler} up and down, {trajectory} times")?;
    for (model, rows) in bench.models.iter().zip(found) {
        let column = |value: fn(&Reconstruction) -> f64| rows.iter().map(value);
        let mut table = Table::new()
            .whole("steps", rows.iter().map(|row| row.steps))
            .real("mse", column(|row| row.mse));
        if request.bootstrap > 0 {
            table = table
                .real("mse low", column(|row| row.mse_low.unwrap_or(f64::NAN)))
                .real("mse high", column(|row| row.mse_high.unwrap_or(f64::NAN)));
        }
        let table = table.real("psnr", column(|row| row.psnr));
        writeln!(out, "\n{}", model.name)?;
        table.write_text(out, true)?;
    }
    Ok(())
}
