//! The commands of the binary, one file each.

mod data;
mod loss;
mod presets;
mod recipe;
mod run;
mod time;

use clap::{Parser, Subcommand};

/// Trains denoising networks and classifiers.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    compute: diff_models::ComputeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network and write its run folder.
    Run(run::RunArgs),
    /// Time the steps of a training; nothing is written.
    Time(time::TimeArgs),
    /// List the training recipes, the documents' and ours, or print one.
    Presets(presets::PresetsArgs),
    /// Open a data set, print what is in it, and draw what a network would be trained on.
    Data(data::DataArgs),
    /// Print the loss and gradient norms of a checkpoint on given inputs.
    Loss(loss::LossArgs),
}

impl Cli {
    /// Runs the command; the exit code is 0 unless a signal ended it.
    pub(crate) fn run(&self) -> anyhow::Result<u8> {
        self.compute.start()?;
        match &self.command {
            Command::Run(args) => run::run(args),
            Command::Time(args) => time::time(args).map(|()| 0),
            Command::Presets(args) => presets::presets(args).map(|()| 0),
            Command::Data(args) => data::data(args).map(|()| 0),
            Command::Loss(args) => loss::loss(args).map(|()| 0),
        }
    }
}
