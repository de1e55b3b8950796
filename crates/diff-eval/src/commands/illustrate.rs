use clap::Args;
use diff_core::save;
use diff_eval::gap::illustrate;
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct IllustrateArgs {
    /// Where to write the drawing.
    #[arg(long, value_name = "PATH")]
    svg: PathBuf,
    /// Size of the error in every noise prediction, above 0 and at most 1.
    #[arg(long, default_value_t = 0.05)]
    error: f64,
    /// Print one JSON object with the paths.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &IllustrateArgs) -> anyhow::Result<()> {
    let drawn = illustrate(args.error)?;
    save::atomic_bytes(&args.svg, drawn.to_svg().as_bytes())?;
    let (same_sign, alternating) = (drawn.same_sign_deviation(), drawn.alternating_deviation());
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = json!(drawn);
        object["svg"] = json!(args.svg);
        object["same_sign_deviation"] = json!(same_sign);
        object["alternating_deviation"] = json!(alternating);
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "distance of the sample from the one without error, {} a step:", drawn.error)?;
    writeln!(out, "always the same sign   {same_sign:.3e}")?;
    writeln!(out, "alternating signs      {alternating:.3e}")?;
    Ok(())
}
