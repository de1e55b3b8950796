//! What is timed, and the commands that do it.

use super::{
    Bench,
    peer::{Peers, Variant},
};
use crate::process::output;
use anyhow::{Context, Result};
use clap::ValueEnum;
use diff_core::save::io_error;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One forward pass.
    Forward,
    /// One training step.
    Step,
    /// Sampling with ten steps of DDIM, end to end.
    Ddim,
    /// What the sequence-aware loss over two time steps costs; ours alone.
    Sequence,
    /// The network of FID on one batch, against pytorch-fid's.
    Inception,
    /// Mean and covariance of its features of picture files, end to end, against pytorch-fid.
    Fid,
    /// The Fréchet distance of two Gaussians of as many features, against pytorch-fid's.
    Frechet,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Forward,
        Self::Step,
        Self::Ddim,
        Self::Sequence,
        Self::Inception,
        Self::Fid,
        Self::Frechet,
    ];

    /// Whether there is nothing to time without a peer, as both sides start from what it writes.
    pub(super) fn needs_peer(self) -> bool {
        matches!(self, Self::Inception | Self::Fid | Self::Frechet)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Step => "step",
            Self::Ddim => "ddim",
            Self::Sequence => "sequence",
            Self::Inception => "inception",
            Self::Fid => "fid",
            Self::Frechet => "frechet",
        }
    }

    pub(super) fn batches(self) -> &'static [usize] {
        match self {
            Self::Forward => &[1, 8, 64],
            Self::Step => &[8, 16],
            Self::Ddim | Self::Sequence => &[8],
            Self::Inception | Self::Fid => &[32],
            Self::Frechet => &[2048],
        }
    }
}

/// A kind of work on so many pictures, or, of the Fréchet distance, features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) batch: usize,
}

/// Who takes part in a case.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) command: Command,
    /// `None`: ours.
    pub(super) variant: Option<Variant>,
}

/// Steps of DDIM.
const STEPS: &str = "10";

impl Case {
    pub(super) fn name(&self) -> String {
        name(self.kind.name(), self.batch)
    }

    /// A file of this case.
    fn file(&self, bench: &Bench, ending: &str) -> PathBuf {
        bench.folder.join(format!("{}-{}-{ending}", self.kind.name(), self.batch))
    }

    /// Everybody who takes part, ours first: it writes what the others start from.
    pub(super) fn sides(&self, bench: &Bench) -> Result<Vec<Side>> {
        let ours =
            |name: &str, command: Command| Side { name: name.into(), command, variant: None };
        if self.kind == Kind::Sequence {
            let twice = 2 * self.batch;
            let sa = ["--set", "objective={kind='sa',steps=2,lambda=1.0}"];
            let mut window = train(bench, self.batch)?;
            window.args(sa);
            return Ok(vec![
                ours(&format!("sa K=2, batch {}", self.batch), window),
                ours(&format!("simple, batch {}", self.batch), train(bench, self.batch)?),
                ours(&format!("simple, batch {twice}"), train(bench, twice)?),
            ]);
        }
        let input = match self.kind {
            Kind::Inception | Kind::Fid => self.given(bench, "pictures")?,
            Kind::Frechet => self.given(bench, "moments")?,
            _ => self.file(bench, "input.safetensors"),
        };
        let (command, reference) = self.ours(bench, &input)?;
        let mut sides = vec![ours("ours", command)];
        if let Peers::Found { python, .. } = &bench.peers {
            let timed = |variant: &&Variant| match self.kind {
                Kind::Ddim | Kind::Inception => Variant::FORMATS.contains(variant),
                Kind::Fid | Kind::Frechet => **variant == Variant::Contiguous,
                _ => true,
            };
            sides.extend(bench.variants.iter().filter(timed).map(|variant| Side {
                name: variant.name().into(),
                command: self.peer(bench, python, *variant, &input, reference.as_deref()),
                variant: Some(*variant),
            }));
        }
        Ok(sides)
    }

    /// Our call, and the file in which it leaves what it made of the input.
    fn ours(&self, bench: &Bench, input: &Path) -> Result<(Command, Option<PathBuf>)> {
        let batch = self.batch.to_string();
        let forward = |batch: &str| -> Result<Command> {
            let mut command = bench.ours("diff-models")?;
            command.args(["time", "--batch", batch, "--save-input"]).arg(input);
            command.arg("--checkpoint").arg(bench.checkpoint());
            Ok(command)
        };
        Ok(match self.kind {
            Kind::Forward => {
                let reference = self.file(bench, "output.safetensors");
                let mut command = forward(&batch)?;
                command.arg("--wait").arg("--output").arg(&reference);
                (command, Some(reference))
            }
            Kind::Ddim => {
                // The inputs of a forward pass are what sampling starts from.
                output(forward(&batch)?.args(["--repeats", "1"]))?;
                let reference = self.file(bench, "output.npz");
                let mut command = bench.ours("diff-sample")?;
                command.args(["time", "--wait", "--sampler", "ddim", "--steps", STEPS]);
                command.args(["--trajectory", "diffusers-leading", "--num", &batch]);
                command.args(["--batch", &batch, "--checkpoint"]).arg(bench.checkpoint());
                command.arg("--output").arg(&reference);
                (command, Some(reference))
            }
            Kind::Inception | Kind::Fid => {
                let reference = self.file(bench, "output.npz");
                let weights = input.join("weights.pth");
                let mut command = bench.ours("diff-eval")?;
                command.args(["time", "--wait", "--batch", &batch, "--weights"]).arg(&weights);
                let sha256 = input.join("weights.sha256");
                let sha256 = fs::read_to_string(&sha256).map_err(io_error(&sha256, "read"))?;
                command.args(["--weights-sha256", sha256.trim()]);
                command.arg("--output").arg(&reference);
                if self.kind == Kind::Fid {
                    command.arg("--pictures").arg(input.join("pictures"));
                }
                (command, Some(reference))
            }
            Kind::Frechet => {
                let reference = self.file(bench, "output.npz");
                let mut command = bench.ours("diff-eval")?;
                command.args(["time", "--wait", "--statistics"]);
                command.args(["a.npz", "b.npz"].map(|name| input.join(name)));
                command.arg("--output").arg(&reference);
                (command, Some(reference))
            }
            Kind::Step | Kind::Sequence => {
                let mut command = train(bench, self.batch)?;
                command.arg("--save-input").arg(input);
                (command, None)
            }
        })
    }

    /// A folder with what both sides start from, which the peer makes.
    fn given(&self, bench: &Bench, what: &str) -> Result<PathBuf> {
        let folder = self.file(bench, "input");
        if let Peers::Found { python, .. } = &bench.peers {
            let mut command = bench.peer_input(python, what, &folder);
            output(command.args(["--batch", &self.batch.to_string()]))?;
        }
        Ok(folder)
    }

    fn peer(
        &self,
        bench: &Bench,
        python: &Path,
        variant: Variant,
        input: &Path,
        reference: Option<&Path>,
    ) -> Command {
        let mut command = bench.peer(python, self.kind, variant, input, reference);
        if self.kind == Kind::Ddim {
            command.args(["--steps", STEPS]);
        }
        command.args(["--batch", &self.batch.to_string()]);
        command
    }

    /// Our loss and gradient norm of the inputs of a step, without dropout.
    pub(super) fn expected(&self, bench: &Bench) -> Result<Option<(f64, f64)>> {
        if self.kind != Kind::Step {
            return Ok(None);
        }
        let mut command = bench.ours("diff-train")?;
        command.args(["loss", "--json", "--checkpoint"]).arg(bench.checkpoint());
        command.arg("--input").arg(self.file(bench, "input.safetensors"));
        let measured: Value = serde_json::from_str(&output(&mut command)?)?;
        let loss = measured["total"].as_f64().context("diff-train loss printed no total")?;
        let norms = measured["grad_norms"].as_object().context("and no grad_norms")?;
        let squares = norms.values().filter_map(Value::as_f64).map(|norm| norm * norm);
        Ok(Some((loss, squares.sum::<f64>().sqrt())))
    }
}

/// What a case is called.
pub(super) fn name(kind: &str, batch: usize) -> String {
    let of = if kind == Kind::Frechet.name() { "features" } else { "batch" };
    format!("{kind}, {of} {batch}")
}

/// Our training steps, with the recipe's defaults, on digits blown up to the network's size.
fn train(bench: &Bench, batch: usize) -> Result<Command> {
    let mut command = bench.ours("diff-train")?;
    command.args(["time", "--wait", "--init-from"]).arg(bench.checkpoint());
    let cache = Value::String(bench.folder.join("cache").display().to_string());
    for set in [
        "data.source=digits".to_string(),
        "data.resolution=32".into(),
        "data.channels=3".into(),
        format!("data.cache={cache}"),
        format!("train.batch={batch}"),
    ] {
        command.args(["--set", &set]);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_called_as_on_the_command_line() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
        }
    }
}
