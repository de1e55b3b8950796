//! The commands of `diff-eval`, one file each.

mod bench;
mod bounds;
mod compare;
mod fd;
mod floor;
mod gap;
mod illustrate;
mod inception;
mod likelihood;
mod metrics;
mod pixels;
mod reconstruction;
mod select;
mod space;
mod stats;
mod time;

use clap::{Parser, Subcommand};
use diff_core::cli;
use std::process::ExitCode;

/// Judges denoising networks and samples.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    compute: diff_models::ComputeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare plain pixel statistics with a reference: a sanity check, not a measure of quality.
    Pixels(pixels::PixelsArgs),
    /// Measure how prediction errors add up along the sampling of trained networks.
    Gap(gap::GapArgs),
    /// Measure the total gap of trained networks and the bounds of SA-DPM's Theorem 2.
    Bounds(bounds::BoundsArgs),
    /// Measure how well trained networks would compress pictures: the variational bound in bits per
    /// dimension.
    Likelihood(likelihood::LikelihoodArgs),
    /// Measure what is lost from a picture to its latent and back, for several numbers of steps.
    Reconstruction(reconstruction::ReconstructionArgs),
    /// Draw why errors that agree from step to step matter, on data of which all is known.
    Illustrate(illustrate::IllustrateArgs),
    /// Fréchet Inception distance of samples to a reference.
    Fid(Box<metrics::FidArgs>),
    /// Inception Score of samples.
    Is(Box<metrics::IsArgs>),
    /// Kernel Inception distance of samples to a reference.
    Kid(Box<metrics::KidArgs>),
    /// Precision, recall, density and coverage of samples.
    Pr(Box<metrics::PrArgs>),
    /// All published metrics, or some of them, in one pass over the pictures.
    All(Box<metrics::AllArgs>),
    /// Mean and covariance of features, in a file as pytorch-fid's.
    Stats(Box<stats::StatsArgs>),
    /// Mean squared error and PSNR of pictures against what they should be.
    Compare(compare::CompareArgs),
    /// Time a feature network, or all of a pass over pictures.
    Time(Box<time::TimeArgs>),
    /// Judge samples in a classifier's features: Fréchet distance, classifier score, and how near
    /// they are to what was trained on.
    Fd(fd::FdArgs),
    /// What held-out pictures, and a model that only remembers, would score.
    Floor(floor::FloorArgs),
    /// Rank a run's milestones by the Fréchet distance of a few samples.
    Select(Box<select::SelectArgs>),
}

/// Parses the command line, runs what it asks for, and says how it went.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = cli.compute.start() {
        return cli::exit(Err(error));
    }
    cli::exit(match cli.command {
        Command::Pixels(args) => pixels::run(&args),
        Command::Gap(args) => gap::run(&args),
        Command::Bounds(args) => bounds::run(&args),
        Command::Likelihood(args) => likelihood::run(&args),
        Command::Reconstruction(args) => reconstruction::run(&args),
        Command::Illustrate(args) => illustrate::run(&args),
        Command::Fid(args) => metrics::fid(&args),
        Command::Is(args) => metrics::is(&args),
        Command::Kid(args) => metrics::kid(&args),
        Command::Pr(args) => metrics::pr(&args),
        Command::All(args) => metrics::all(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Time(args) => time::run(&args),
        Command::Fd(args) => fd::run(&args),
        Command::Floor(args) => floor::run(&args),
        Command::Select(args) => select::run(&args),
    })
}
