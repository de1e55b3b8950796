use diff_sample::samplers::SAMPLERS;
use std::io::{self, Write};

/// Prints every sampler.
pub(crate) fn list() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<15} {:<5} {:<10} {:<10} what it does",
        "sampler", "order", "calls/step", "stochastic"
    )?;
    for s in SAMPLERS {
        let stochastic = match (s.stochastic, s.takes_eta) {
            (true, true) => "if eta > 0",
            (true, false) => "yes",
            (false, _) => "no",
        };
        let (name, order, calls) = (s.name, s.order, s.calls_per_step);
        writeln!(out, "{name:<15} {order:<5} {calls:<10} {stochastic:<10} {}", s.summary)?;
        writeln!(out, "{:<43} source: {}", "", s.source)?;
    }
    Ok(())
}
