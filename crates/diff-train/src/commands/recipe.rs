use clap::Args;
use diff_core::config;
use diff_train::{config::RunConfig, presets::Preset};
use std::path::PathBuf;

/// Where a configuration comes from.
#[derive(Args)]
pub(crate) struct Recipe {
    /// The configuration, TOML; without it, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start from a recipe that `diff-train presets` lists, instead of a file.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    preset: Option<String>,
    /// Override one value, e.g. `train.lr=1e-3`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Start from the weights of this checkpoint: a folder, or `hub:org/name`.
    #[arg(long, value_name = "DIR")]
    init_from: Option<String>,
}

impl Recipe {
    /// The configuration.
    pub(crate) fn load(&self) -> anyhow::Result<RunConfig> {
        let mut config: RunConfig = match &self.preset {
            Some(name) => Preset::find(name)?.config(&self.set)?,
            None => config::load(self.config.as_deref(), &self.set)?,
        };
        if let Some(spec) = &self.init_from {
            config.init_from = Some(spec.clone());
        }
        Ok(config)
    }
}
