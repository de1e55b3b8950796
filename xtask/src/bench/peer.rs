//! The PyTorch side: where it is, and in which forms it is timed.

use super::{Bench, case::Kind};
use crate::{process::last_line, python, workspace};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Whether there is a PyTorch to compare with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Peers {
    /// There is.
    Found {
        #[serde(skip)]
        python: PathBuf,
        /// Of python, torch and diffusers.
        versions: Value,
    },
    /// There is not, and why.
    Skipped(String),
}

impl Peers {
    /// Asks the python that was named, if one was.
    pub(super) fn find(named: Option<PathBuf>) -> Self {
        let Some(python) = named else {
            return Peers::Skipped(format!("{} with torch and diffusers", python::NOT_NAMED));
        };
        let skipped = |why: String| Peers::Skipped(format!("{}: {why}", python.display()));
        let output = match Command::new(&python).arg(script()).arg("versions").output() {
            Ok(output) => output,
            Err(error) => return skipped(error.to_string()),
        };
        if !output.status.success() {
            return skipped(last_line(&output.stderr));
        }
        match serde_json::from_str(&last_line(&output.stdout)) {
            Ok(versions) => Peers::Found { python, versions },
            Err(_) => skipped(format!("expected versions, got {}", last_line(&output.stdout))),
        }
    }
}

fn script() -> PathBuf {
    workspace::root().join("xtask/bench/peer.py")
}

/// A form of the PyTorch side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Variant {
    /// f32, PyTorch's usual memory format.
    Contiguous,
    /// f32, channels innermost.
    ChannelsLast,
    /// bf16 under autocast, channels innermost.
    Bf16,
    /// f32 through torch.compile.
    Compile,
}

impl Variant {
    pub(super) const ALL: [Self; 4] =
        [Self::Contiguous, Self::ChannelsLast, Self::Bf16, Self::Compile];

    /// Those whose better one is the bar.
    pub(super) const FORMATS: [Self; 2] = [Self::Contiguous, Self::ChannelsLast];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Contiguous => "contiguous",
            Self::ChannelsLast => "channels_last",
            Self::Bf16 => "bf16",
            Self::Compile => "compile",
        }
    }

    /// Whether its results must be ours.
    pub(super) fn is_exact(self) -> bool {
        self != Self::Bf16
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Contiguous => &[],
            Self::ChannelsLast => &["--layout", "channels_last"],
            Self::Bf16 => &["--layout", "channels_last", "--dtype", "bf16"],
            Self::Compile => &["--compile"],
        }
    }
}

impl Bench {
    /// The call that makes what both sides start from in `folder`.
    pub(super) fn peer_input(&self, python: &Path, what: &str, folder: &Path) -> Command {
        let mut command = Command::new(python);
        command.arg(script()).arg(what).arg("--output").arg(folder);
        command
    }

    /// The call that times `variant` on `input`; what ours made of it is in `reference`.
    pub(super) fn peer(
        &self,
        python: &Path,
        kind: Kind,
        variant: Variant,
        input: &Path,
        reference: Option<&Path>,
    ) -> Command {
        let threads = self.threads.to_string();
        let mut command = Command::new(python);
        command.arg(script()).arg(kind.name()).arg("--model").arg(self.checkpoint());
        command.arg("--input").arg(input).args(["--threads", &threads]).args(variant.arguments());
        if let Some(reference) = reference {
            command.arg("--reference").arg(reference);
        }
        // Nothing may be fetched, and nothing may stay.
        command.env("HF_HUB_OFFLINE", "1");
        command.env("TORCHINDUCTOR_CACHE_DIR", self.folder.join("inductor"));
        command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_does_not_run_or_lacks_torch_is_skipped_with_its_reason() {
        let reason = |path: &Path| match Peers::find(Some(path.to_path_buf())) {
            Peers::Skipped(reason) => reason,
            found => format!("{found:?}"),
        };
        assert!(reason(Path::new("no/such/python")).starts_with("no/such/python: "));
        // Both end at once, whatever they are given.
        assert!(reason(Path::new("true")).contains("expected versions"));
        assert!(reason(Path::new("false")).starts_with("false: "));
    }

    #[test]
    fn the_script_is_there_and_variants_are_called_as_on_the_command_line() {
        assert!(script().is_file());
        for variant in Variant::ALL {
            assert_eq!(variant.to_possible_value().unwrap().get_name(), variant.name());
        }
    }
}
