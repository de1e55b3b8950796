use super::bench::{BenchArgs, for_every_model, pictures_line};
use clap::Args;
use diff_core::{gap::TauMode, table::Table};
use diff_eval::gap::{BoundsRequest, bounds};
use serde_json::{Value, json};
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct BoundsArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// Pictures, in the order of the data set.
    #[arg(long, default_value_t = 64)]
    num: u64,
    /// Evaluate Theorem 2 for windows K = 1..=WINDOWS.
    #[arg(long, default_value_t = 4)]
    windows: usize,
    /// Weights in Theorem 2: on (tau), off (1) or normalised.
    #[arg(long, default_value = "on", value_parser = tau_mode)]
    tau: TauMode,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures at a time; all T - 1 residuals of each are held in memory.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn tau_mode(text: &str) -> Result<TauMode, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "expected on, off or normalised".into())
}

pub(crate) fn run(args: &BoundsArgs) -> anyhow::Result<()> {
    let request = BoundsRequest {
        num: args.num,
        windows: args.windows,
        tau: args.tau,
        seed: args.seed,
        batch: args.batch,
    };
    let bench = args.bench.open()?;
    request.check(bench.schedule.timesteps())?;
    let reports = for_every_model(&bench, args.num, |_, subject, progress| {
        bounds(subject, &bench.pictures, &request, progress)
    })?;
    let measured = bench.models.iter().zip(&reports);
    let mut out = io::stdout().lock();
    if args.json {
        let checkpoints = measured.map(|(model, report)| {
            let mut value = json!(report);
            value["name"] = json!(model.name);
            value["checkpoint"] = json!(model.spec);
            value["weights_sha256"] = json!(model.weights_sha256);
            value
        });
        let repeats = bench.pictures.repeats(args.num);
        let object = json!({
            "num": args.num,
            "pictures": args.num - repeats,
            "repeats": repeats,
            "seed": args.seed,
            "tau": args.tau,
            "data": bench.data,
            "data_sha256": bench.data_sha256,
            "timesteps": bench.schedule.timesteps(),
            "checkpoints": checkpoints.collect::<Vec<_>>(),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "{}", pictures_line(&bench, args.num))?;
    for (model, report) in measured {
        writeln!(out, "\n{}", model.name)?;
        writeln!(out, "mean norm of the total gap   {:.6e}", report.gap_l2)?;
        writeln!(out, "L_theta, its mean square     {:.6e}", report.loss)?;
        let table = Table::new()
            .whole("K", report.bounds.iter().map(|b| b.window))
            .real("upper", report.bounds.iter().map(|b| b.upper))
            .real("sequence_aware", report.bounds.iter().map(|b| b.sequence_aware))
            .real("lower", report.bounds.iter().map(|b| b.lower));
        table.write_text(&mut out, true)?;
        let holds = match report.bounds.iter().all(|b| b.hold) {
            true => "holds for every picture",
            false => "does NOT hold for every picture",
        };
        writeln!(out, "Theorem 2, upper >= sequence_aware >= lower, {holds}")?;
    }
    Ok(())
}
