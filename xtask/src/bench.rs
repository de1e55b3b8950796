//! `cargo xtask bench`: our binaries against PyTorch and diffusers on the same weights, in turns.

mod case;
mod peer;
mod rest;
mod result;
mod show;
mod turns;
mod worker;

use crate::{
    machine::Machine,
    process::output,
    python,
    scratch::Scratch,
    workspace,
    workspace::{BINARIES, Binaries},
};
use anyhow::{Result, bail};
use case::{Case, Kind};
use diff_core::{Error, save::atomic_bytes};
use peer::{Peers, Variant};
use result::Report;
use std::{path::PathBuf, process::Command, thread, time::Duration};

/// Time our binaries against PyTorch and diffusers: the CIFAR-10 U-Net with the same weights on both
/// sides, forward, a training step, and sampling.
///
/// All sides of a case are started, warmed up, and then take turns, so that what slows the machine
/// down slows them alike. Outputs are compared in the same run, to 1e-4 in f32.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One batch size for every case [default: 1, 8, 64 forward; 8, 16 a step; 8 the others].
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// Rounds in which every side takes one turn [default: 9, or 3 with --quick].
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// Threads of every side [default: all].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// What to time; several with commas.
    #[arg(long, value_delimiter = ',', value_enum, value_name = "CASE")]
    only: Vec<Kind>,
    /// Which forms of the PyTorch side; several with commas [default: all].
    #[arg(long, value_delimiter = ',', value_enum, value_name = "VARIANT")]
    variants: Vec<Variant>,
    /// Batch 8, three rounds, and PyTorch's two f32 memory formats only.
    #[arg(long)]
    quick: bool,
    /// A python with torch and diffusers [default: what DIFF_PEER_PYTHON names].
    #[arg(long, value_name = "PATH")]
    peer_python: Option<PathBuf>,
    /// Seconds of rest before every turn, in which the threads of the last one settle.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3)]
    pause: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the JSON object to a file as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the binaries from a folder instead of building them.
    #[arg(long, value_name = "DIR", hide = true)]
    bin_dir: Option<PathBuf>,
}

/// What every case is measured with.
struct Bench {
    binaries: Binaries,
    /// Where checkpoint, inputs and logs lie.
    folder: PathBuf,
    threads: usize,
    repeats: usize,
    pause: Duration,
    peers: Peers,
    variants: Vec<Variant>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let (mut cases, repeats, variants) = (cases(args)?, repeats(args)?, variants(args));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = at_least_one("threads", args.threads.unwrap_or(cores))?;
    let pause = Duration::try_from_secs_f64(args.pause)
        .map_err(|_| Error::argument("pause", args.pause, "seconds, at least 0"))?;
    let binaries = match &args.bin_dir {
        Some(folder) => Binaries::in_folder(folder, &BINARIES)?,
        None => Binaries::build(&BINARIES)?,
    };
    let peers = Peers::find(python::peer(args.peer_python.as_deref()));
    if let Peers::Skipped(reason) = &peers {
        eprintln!("only ours is timed, and nothing of FID: {reason}");
        cases.retain(|case| !case.kind.needs_peer());
    }
    let scratch = Scratch::new("bench")?;
    let folder = scratch.path().to_path_buf();
    let bench = Bench { binaries, folder, threads, repeats, pause, peers, variants };
    bench.make_checkpoint()?;
    let report = Report {
        machine: Machine::here(),
        profile: args.bin_dir.is_none().then(workspace::profile_name),
        binaries: bench.binaries.versions().clone(),
        peers: bench.peers.clone(),
        threads,
        repeats,
        cases: cases.iter().map(|case| turns::measure(case, &bench)).collect::<Result<_>>()?,
    };
    tell(args, &report)?;
    match report.mismatches() {
        none if none.is_empty() => Ok(()),
        found => bail!("outputs differ by more than {:e}: {}", result::TOLERANCE, found.join("; ")),
    }
}

fn tell(args: &Args, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    if let Some(path) = &args.out {
        atomic_bytes(path, json.as_bytes())?;
    }
    print!("{}", if args.json { json } else { show::text(report) });
    Ok(())
}

fn cases(args: &Args) -> Result<Vec<Case>> {
    let kinds = if args.only.is_empty() { Kind::ALL.to_vec() } else { args.only.clone() };
    let one = args.batch.map(|batch| at_least_one("batch", batch)).transpose()?;
    let one = one.or(args.quick.then_some(8));
    let batches = |kind: Kind| {
        let given = one.filter(|_| kind != Kind::Frechet);
        given.map_or(kind.batches().to_vec(), |batch| vec![batch])
    };
    let cases = |kind: Kind| batches(kind).into_iter().map(move |batch| Case { kind, batch });
    Ok(kinds.into_iter().flat_map(cases).collect())
}

fn repeats(args: &Args) -> Result<usize> {
    at_least_one("repeats", args.repeats.unwrap_or(if args.quick { 3 } else { 9 }))
}

fn variants(args: &Args) -> Vec<Variant> {
    match (args.variants.as_slice(), args.quick) {
        ([], true) => Variant::FORMATS.to_vec(),
        ([], false) => Variant::ALL.to_vec(),
        (given, _) => given.to_vec(),
    }
}

fn at_least_one(name: &str, value: usize) -> Result<usize> {
    match value {
        0 => bail!(Error::argument(name, 0, "at least 1")),
        _ => Ok(value),
    }
}

impl Bench {
    /// The folder of the weights that all sides load.
    fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    fn make_checkpoint(&self) -> Result<()> {
        let mut init = self.ours("diff-models")?;
        init.arg("init").arg("--out").arg(self.checkpoint());
        output(&mut init).map(|_| ())
    }

    /// A call of one of our binaries on as many threads as everybody has.
    fn ours(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(self.binaries.path(name)?);
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        Ok(command)
    }
}
