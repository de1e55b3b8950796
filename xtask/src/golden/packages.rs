//! The packages that a python has, of those that scripts need.

use crate::process::output;
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
};

/// Packages and the versions that the fixtures were made with.
const REQUIREMENTS: &str = include_str!("../../../tests/golden/requirements.txt");

/// Modules that are not called as the package that holds them.
const OTHER_NAMES: [(&str, &str); 3] =
    [("PIL", "pillow"), ("pytorch_fid", "pytorch-fid"), ("torch_fidelity", "torch-fidelity")];

/// Prints of every MODULE=PACKAGE the version that is installed, or a dash. Nothing is imported:
/// that would take seconds a module.
const ASK: &str = "\
import importlib.metadata, importlib.util, sys
for name in sys.argv[1:]:
    module, package = name.split('=')
    version = '-'
    if importlib.util.find_spec(module):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = '?'
    print(module, version)
";

/// The package of a module.
fn package(module: &str) -> &str {
    OTHER_NAMES.iter().find(|(name, _)| *name == module).map_or(module, |(_, package)| package)
}

/// The version that is asked for.
fn pinned(package: &str) -> Option<&'static str> {
    let requirements = REQUIREMENTS.lines().filter_map(|line| line.split_once("=="));
    requirements.filter(|(name, _)| *name == package).map(|(_, version)| version).next()
}

/// A package as pip is asked for it.
fn requirement(module: &str) -> String {
    let package = package(module);
    pinned(package).map_or(package.to_string(), |version| format!("{package}=={version}"))
}

/// What a python has.
pub(super) struct Packages {
    /// Versions by module; none where it is missing.
    versions: BTreeMap<String, Option<String>>,
}

impl Packages {
    /// Asks `python` for `modules`.
    pub(super) fn ask(python: &Path, modules: &BTreeSet<&str>) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-c", ASK]).stdin(Stdio::null());
        command.args(modules.iter().map(|module| format!("{module}={}", package(module))));
        let text = output(&mut command)
            .with_context(|| format!("{}: expected a python", python.display()))?;
        Self::read(&text, modules).with_context(|| python.display().to_string())
    }

    fn read(text: &str, modules: &BTreeSet<&str>) -> Result<Self> {
        let mut versions = BTreeMap::new();
        for line in text.lines() {
            if let Some((module, version)) = line.trim().split_once(' ') {
                let version = (version != "-").then(|| version.to_string());
                versions.insert(module.to_string(), version);
            }
        }
        if let Some(module) = modules.iter().find(|module| !versions.contains_key(**module)) {
            bail!("expected the version of {module}, got {text:?}");
        }
        Ok(Self { versions })
    }

    /// What is missing of `modules`, with the line that would install it.
    pub(super) fn missing(
        &self,
        python: &Path,
        modules: impl Iterator<Item = &'static str>,
    ) -> Option<String> {
        let there = |module: &str| self.versions.get(module).is_some_and(Option::is_some);
        let missing: BTreeSet<&str> = modules.filter(|module| !there(module)).collect();
        let list = |words: Vec<String>, between| words.join(between);
        let packages = missing.iter().map(|module| package(module).to_string()).collect();
        let asked = missing.iter().map(|module| requirement(module)).collect();
        (!missing.is_empty()).then(|| {
            let (packages, asked) = (list(packages, ", "), list(asked, " "));
            format!("without {packages}: {} -m pip install {asked}", python.display())
        })
    }

    /// Packages in other versions than the fixtures were made with.
    pub(super) fn others(&self) -> Vec<String> {
        let other = |(module, found): (&String, &Option<String>)| {
            // `2.15.0+cpu` is a build of 2.15.0.
            let (found, wanted) = (found.as_deref()?, pinned(package(module))?);
            let public = found.split('+').next()?;
            (public != wanted).then(|| format!("{} {found} for {wanted}", package(module)))
        };
        self.versions.iter().filter_map(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::registry::{SCRIPTS, Script};

    #[test]
    fn every_module_is_pinned_and_nothing_else() {
        let modules = SCRIPTS.iter().flat_map(Script::all_modules);
        let packages: BTreeSet<&str> = modules.map(package).collect();
        let lines = REQUIREMENTS.lines().filter(|line| !line.starts_with('#'));
        let pins: BTreeSet<&str> = lines.map(|line| line.split_once("==").unwrap().0).collect();
        assert_eq!(packages, pins);
    }

    #[test]
    fn what_is_missing_comes_with_the_line_that_installs_it() {
        let modules = BTreeSet::from(["PIL", "lmdb", "torch"]);
        let packages = Packages::read("PIL -\nlmdb 9\ntorch 2.15.0+cpu\n", &modules).unwrap();
        let python = Path::new("a/python");
        let missing = |modules: &'static [&str]| packages.missing(python, modules.iter().copied());
        let line = format!("without pillow: a/python -m pip install {}", requirement("PIL"));
        assert_eq!(missing(&["torch", "PIL", "PIL"]), Some(line));
        assert_eq!(missing(&["torch", "lmdb"]), None);
        assert_eq!(packages.others(), [format!("lmdb 9 for {}", pinned("lmdb").unwrap())]);
    }

    #[test]
    fn an_answer_that_leaves_a_module_out_is_an_error() {
        let error = Packages::read("hello\n", &BTreeSet::from(["torch"])).err().unwrap();
        assert!(error.to_string().contains("expected the version of torch"), "{error}");
    }
}
