//! How this process computes: the options that every binary has.

use crate::ops::{self, Algorithm};
use anyhow::Context;
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
