//! What is asked of the Hub: a repository, a revision, and which of its files.

use globset::{Glob, GlobMatcher};

/// What is to be in the snapshot folder.
pub(super) struct Request<'a> {
    /// The name the user gave; messages begin with it.
    pub(super) spec: &'a str,
    pub(super) repository: Repository,
    pub(super) revision: &'a str,
    pub(super) wanted: Wanted,
}

/// A repository of the Hub.
pub(super) struct Repository {
    pub(super) kind: Kind,
    /// Empty for the few data sets without one.
    pub(super) owner: String,
    pub(super) name: String,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

/// Which files of a repository are wanted.
pub(super) enum Wanted {
    /// The configuration and the best form of the weights.
    Checkpoint,
    /// Every file that matches one of these.
    Matching(Vec<GlobMatcher>),
}

/// The configuration files of a checkpoint, as [`crate::Checkpoint`] reads them.
const TEXTS: [&str; 5] = [
    "model_index.json",
    "config.json",
    "scheduler_config.json",
    "unet/config.json",
    "scheduler/scheduler_config.json",
];

/// Its weights, best first.
const WEIGHTS: [&[&str]; 3] = [
    &["unet/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors"],
    &["unet/diffusion_pytorch_model.bin", "diffusion_pytorch_model.bin"],
    &["model.safetensors"],
];

impl Repository {
    /// The model `org/name`; none for anything else.
    pub(super) fn model(id: &str) -> Option<Self> {
        let (owner, name) = id.split_once('/')?;
        let valid = is_name(owner) && is_name(name);
        valid.then(|| Repository { kind: Kind::Model, owner: owner.into(), name: name.into() })
    }

    /// The data set `name` or `org/name`; none for anything else.
    pub(super) fn dataset(id: &str) -> Option<Self> {
        let (owner, name) = id.split_once('/').unwrap_or(("", id));
        let valid = (is_name(owner) || !id.contains('/')) && is_name(name);
        valid.then(|| Repository { kind: Kind::Dataset, owner: owner.into(), name: name.into() })
    }

    /// `org/name`, or `name`.
    pub(super) fn id(&self) -> String {
        if self.owner.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.owner, self.name)
        }
    }

    /// The folder of this repository in the cache.
    pub(super) fn folder(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.id().replace('/', "--"))
    }
}

impl Wanted {
    /// The files that match one of `patterns`; the error names what is not a pattern.
    pub(super) fn matching(patterns: &[&str]) -> Result<Self, String> {
        let compile = |pattern: &&str| {
            let glob = Glob::new(pattern).map_err(|e| format!("a pattern, not `{pattern}` ({e})"));
            Ok(glob?.compile_matcher())
        };
        patterns.iter().map(compile).collect::<Result<_, String>>().map(Wanted::Matching)
    }

    /// The wanted ones of `names`; the error says what is not among them.
    pub(super) fn choose(&self, names: &[String]) -> Result<Vec<String>, String> {
        match self {
            Wanted::Checkpoint => {
                let among = |wanted: &[&str]| {
                    let held = wanted.iter().filter(|name| names.iter().any(|n| n == *name));
                    held.map(|name| name.to_string()).collect::<Vec<_>>()
                };
                let mut weights = WEIGHTS.iter().map(|names| among(names));
                match weights.find(|weights| !weights.is_empty()) {
                    Some(weights) => Ok([among(&TEXTS), weights].concat()),
                    None => Err(format!("none of {}", WEIGHTS.concat().join(", "))),
                }
            }
            Wanted::Matching(patterns) => {
                let matches = |pattern: &GlobMatcher| names.iter().any(|n| pattern.is_match(n));
                if let Some(pattern) = patterns.iter().find(|pattern| !matches(pattern)) {
                    return Err(format!("no file that matches `{}`", pattern.glob()));
                }
                let wanted = |name: &&String| patterns.iter().any(|p| p.is_match(name));
                Ok(names.iter().filter(wanted).cloned().collect())
            }
        }
    }
}

/// Whether `name` is one the Hub allows; such a name is also safe in a path.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

/// Some when `revision` names a place below `refs/`, and nowhere else.
pub(super) fn check_revision(revision: &str) -> Option<()> {
    is_inside(revision).then_some(())
}

/// Whether a path of the Hub, with slashes, stays inside the folder it is put in.
pub(super) fn is_inside(path: &str) -> bool {
    let plain = |part: &str| !["", ".", ".."].contains(&part) && !part.contains(['\\', ':', '\0']);
    path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn folders_are_those_of_the_other_clients() {
        assert_eq!(Repository::model("org/a-b").unwrap().folder(), "models--org--a-b");
        assert_eq!(Repository::dataset("cifar10").unwrap().folder(), "datasets--cifar10");
        assert_eq!(Repository::dataset("a/b").unwrap().folder(), "datasets--a--b");
    }

    #[test]
    fn a_checkpoint_is_its_texts_and_the_best_weights() {
        let all = names(&[
            "README.md",
            "unet/diffusion_pytorch_model.bin",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
        ]);
        let chosen = Wanted::Checkpoint.choose(&all).unwrap();
        assert_eq!(chosen, ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]);
        let chosen = Wanted::Checkpoint.choose(&all[..3]).unwrap();
        assert_eq!(chosen, ["unet/config.json", "unet/diffusion_pytorch_model.bin"]);
        let classifier = names(&["model.safetensors", "README.md", "config.json"]);
        let chosen = Wanted::Checkpoint.choose(&classifier).unwrap();
        assert_eq!(chosen, ["config.json", "model.safetensors"]);
        assert!(Wanted::Checkpoint.choose(&all[..1]).unwrap_err().contains("safetensors"));
    }

    #[test]
    fn every_pattern_has_to_match() {
        let all = names(&["plain_text/test/0.parquet", "plain_text/train/0.parquet", "README.md"]);
        let choose = |patterns: &[&str]| Wanted::matching(patterns).unwrap().choose(&all);
        assert_eq!(choose(&["*.parquet"]).unwrap(), all[..2]);
        assert_eq!(choose(&["*/test/*"]).unwrap(), all[..1]);
        assert!(choose(&["*.parquet", "*.csv"]).unwrap_err().contains("`*.csv`"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_found() {
        assert!(["main", "refs/convert/parquet", "a/b.c"].into_iter().all(is_inside));
        for path in ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "c:\\x", "a\\..\\b"] {
            assert!(!is_inside(path), "{path}");
        }
    }
}
