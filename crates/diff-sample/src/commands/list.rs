use diff_sample::samplers::SAMPLERS;
use std::io::{self, Write};

/// Prints every sampler.
pub(crate) fn list() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<11} {:<10} {:<12} what it does", "sampler", "calls/step", "stochastic")?;
    for s in SAMPLERS {
        let stochastic = match (s.stochastic, s.takes_eta) {
            (true, true) => "if eta > 0",
            (true, false) => "yes",
            (false, _) => "no",
        };
        writeln!(out, "{:<11} {:<10} {:<12} {}", s.name, s.calls_per_step, stochastic, s.summary)?;
        writeln!(out, "{:<35} source: {}", "", s.source)?;
    }
    Ok(())
}
