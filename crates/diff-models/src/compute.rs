//! How this process computes: the options that every binary has.

use crate::ops::{self, Algorithm};
use anyhow::Context;
use std::io::{self, Write};
use std::num::NonZeroUsize;

/// Options for computation, the same in every binary.
#[derive(Clone, Debug, clap::Args)]
pub struct ComputeArgs {
    /// Threads for computation; RAYON_NUM_THREADS or all cores if absent.
    #[arg(long, global = true)]
    pub threads: Option<NonZeroUsize>,
    /// How 3x3 convolutions are computed: fast (Winograd, about 4e-6 off) or exact (term by term).
    #[arg(long, global = true, default_value = "fast", value_name = "fast|exact")]
    pub conv: Algorithm,
}

impl ComputeArgs {
    /// Makes these the terms of this process. To be called once, before anything is computed and
    /// before any thread is started.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(&self) -> anyhow::Result<()> {
        self.conv.set_default();
        ops::settle(self.threads).context("--threads")
    }
}

/// Whether a command that times its work also tells where the time goes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ProfileArgs {
    /// Then do the work once more and print what every operation took, as shares of the whole and,
    /// where products are made, of the multiply-adds that this machine can do at most.
    #[arg(long, conflicts_with_all = ["wait", "json"])]
    ops: bool,
}

impl ProfileArgs {
    /// Does `work` and prints the tables, if that was asked for.
    ///
    /// # Errors
    /// Those of `work`; a stream that fails.
    pub fn print<T>(self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<()> {
        if !self.ops {
            return Ok(());
        }
        let (result, profile) = ops::profile(work);
        result?;
        let peak = ops::peak_flops();
        let mut out = io::stdout().lock();
        let most = peak / 1e9;
        writeln!(out, "\nmost multiply-adds in f32 on all threads: {most:.0} GFLOP/s\n")?;
        writeln!(out, "{}\n{}", profile.by_name().table(peak), profile.table(peak))?;
        Ok(())
    }
}
