//! The golden scripts: what each is given, which fixtures it makes, and what it needs.

use super::repository::Repository;
use Place::{File, Folder};
use anyhow::{Result, bail};
use diff_core::{Error, config};

/// A script of `tests/golden`.
#[derive(Debug)]
pub(super) struct Script {
    /// Its name without `.py`.
    pub(super) name: &'static str,
    /// Where it writes: its last argument.
    pub(super) place: Place,
    /// How the paths of its fixtures begin, seen from the folder it writes to.
    pub(super) makes: &'static [&'static str],
    /// The checkouts it is given, in the order of its arguments.
    pub(super) repositories: &'static [Repository],
    /// The modules beyond the standard library that it imports.
    pub(super) modules: &'static [&'static str],
}

/// Where a script writes, from the root of the workspace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Files of its own naming into a folder.
    Folder(&'static str),
    /// One file.
    File(&'static str),
}

impl Place {
    /// The folder of the fixtures, and the name of the file if the script is given one.
    pub(super) fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Folder(folder) => (folder, None),
            File(path) => path.rsplit_once('/').map_or(("", Some(path)), |(f, n)| (f, Some(n))),
        }
    }
}

impl Script {
    /// Whether it is the one that makes a fixture of its folder.
    pub(super) fn owns(&self, file: &str) -> bool {
        self.makes.iter().any(|beginning| file.starts_with(beginning))
    }

    /// The modules that it and the checkouts import.
    pub(super) fn all_modules(&self) -> impl Iterator<Item = &'static str> {
        let theirs = self.repositories.iter().flat_map(|repository| repository.modules);
        self.modules.iter().chain(theirs).copied()
    }
}

const MODELS: Place = Folder("crates/diff-models/tests/fixtures");
const FRECHET: Place = File("crates/diff-eval/tests/fixtures/frechet.json");
const GAP: Place = File("crates/diff-eval/tests/fixtures/gap.json");
const EVAL: Place = Folder("crates/diff-eval/tests/fixtures");
const LOSS: Place = Folder("tests/fixtures/loss");
const SAMPLE: Place = Folder("crates/diff-sample/tests/fixtures");
const TRAIN: Place = Folder("crates/diff-train/tests/fixtures");

const TORCH: &[&str] = &["numpy", "safetensors", "torch"];
const DIFFUSERS: &[&str] = &["diffusers", "numpy", "safetensors", "torch"];
const DIFFUSERS_ALONE: &[&str] = &["diffusers", "safetensors", "torch"];
const JUDGES: &[&str] = &[
    "lpips",
    "numpy",
    "piq",
    "pytorch_fid",
    "safetensors",
    "torch",
    "torch_fidelity",
    "torchvision",
];
const METRICS: &[&str] =
    &["PIL", "numpy", "prdc", "pytorch_fid", "scipy", "torch", "torch_fidelity", "torchvision"];
const PICTURES: &[&str] = &["PIL", "lmdb", "numpy", "safetensors", "torch", "torchvision"];

const ADM: Repository = Repository {
    folder: "guided-diffusion",
    url: "https://github.com/openai/guided-diffusion",
    commit: "22e0df8183507e13a7813f8d38d51b072ca1e67c",
    modules: &[],
};
const DDDM: Repository = Repository {
    folder: "DDDM",
    url: "https://github.com/TheLuoFengLab/DDDM",
    commit: "7af706893fa63d1040f81461febaf13178615c7f",
    modules: &["einops"],
};
const DDIM: Repository = Repository {
    folder: "ddim",
    url: "https://github.com/ermongroup/ddim",
    commit: "e8df66cf02e457719930748b5c26e37e3126dfdd",
    modules: &[],
};
const CONDITIONAL: Repository = Repository {
    folder: "Diffusion-Model",
    url: "https://github.com/yinjjiew/Diffusion-Model",
    commit: "8d83bc83ce71223d06eff9b07014a1c1c31640b3",
    modules: &[],
};
const HEADS: Repository = Repository {
    folder: "Extended-Analytic-DPM",
    url: "https://github.com/baofff/Extended-Analytic-DPM",
    commit: "92aa7688a222e9845f903c0f4b98a6609b43d2c7",
    modules: &[],
};
const STUDY: Repository = Repository {
    folder: "DenoisingDiffusionProbabilityModel-ddpm-",
    url: "https://github.com/zoubohao/DenoisingDiffusionProbabilityModel-ddpm-",
    commit: "54532d61d4007cd743d414db500414499300325a",
    modules: &[],
};

/// Every script that makes fixtures.
pub(super) const SCRIPTS: &[Script] = &[
    script("adm", MODELS, &["adm_"], &[ADM], TORCH),
    script("dddm", MODELS, &["dddm_"], &[DDDM], TORCH),
    script("ermongroup", MODELS, &["ermongroup"], &[DDIM], TORCH),
    script("faint", MODELS, &["faint."], &[ADM, DDDM, STUDY], DIFFUSERS),
    script("features", MODELS, &["features_"], &[], JUDGES),
    script("frechet", FRECHET, &["frechet.json"], &[], &["numpy", "pytorch_fid", "scipy"]),
    script("gap", GAP, &["gap.json"], &[], &["numpy"]),
    script("heads", MODELS, &["heads_"], &[HEADS], TORCH),
    script("latents", SAMPLE, &["latents."], &[ADM], DIFFUSERS),
    script("loss", LOSS, &["expected.", "input.", "model/"], &[], DIFFUSERS_ALONE),
    script("metrics", EVAL, &["metrics.json"], &[], METRICS),
    script("pictures", TRAIN, &["celeba-hq.", "decode.", "prepare."], &[], PICTURES),
    script("solvers", SAMPLE, &["solvers."], &[], DIFFUSERS),
    script("steps", SAMPLE, &["steps."], &[DDIM, CONDITIONAL], DIFFUSERS),
    script("study", MODELS, &["study_"], &[STUDY], TORCH),
    script("tensorboard_events", TRAIN, &["events."], &[], &["PIL", "tensorboard", "torch"]),
    script("torch_files", MODELS, &["torch_"], &[], &["numpy", "torch"]),
    script("unet", MODELS, &["unet_"], &[], DIFFUSERS),
    script("vlb", TRAIN, &["vlb."], &[ADM], TORCH),
];

/// Files of `tests/golden` that make no fixtures: a check of checkpoints, and what others import.
#[cfg(test)]
const NO_SCRIPTS: [&str; 2] = ["check_diffusers_loads", "fill"];

const fn script(
    name: &'static str,
    place: Place,
    makes: &'static [&'static str],
    repositories: &'static [Repository],
    modules: &'static [&'static str],
) -> Script {
    Script { name, place, makes, repositories, modules }
}

/// The scripts of these names, or all of them.
pub(super) fn select(names: &[String]) -> Result<Vec<&'static Script>> {
    for name in names {
        if !SCRIPTS.iter().any(|script| script.name == name) {
            let known = SCRIPTS.iter().map(|script| script.name);
            let hint = config::nearest(name, known.clone());
            let hint = hint.map(|hint| format!("; did you mean `{hint}`?")).unwrap_or_default();
            let expected = format!("one of {}{hint}", known.collect::<Vec<_>>().join(", "));
            bail!(Error::argument("NAME", name, expected));
        }
    }
    let chosen = |script: &&Script| names.is_empty() || names.iter().any(|n| n == script.name);
    Ok(SCRIPTS.iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden::files, workspace};
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
    };

    /// The sources of `tests/golden` by name.
    fn sources() -> BTreeMap<String, String> {
        let folder = workspace::root().join("tests/golden");
        let named = |file: &String| file.strip_suffix(".py").map(String::from);
        let names: Vec<String> = files::below(&folder).unwrap().iter().filter_map(named).collect();
        let read = |name: String| {
            let text = fs::read_to_string(folder.join(format!("{name}.py"))).unwrap();
            (name, text)
        };
        names.into_iter().map(read).collect()
    }

    #[test]
    fn every_script_is_listed_or_makes_nothing() {
        let listed = SCRIPTS.iter().map(|script| script.name).chain(NO_SCRIPTS);
        let (listed, count) = (listed.clone().collect::<BTreeSet<_>>(), listed.count());
        assert_eq!(count, listed.len(), "a name twice");
        let sources = sources();
        assert_eq!(sources.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    }

    #[test]
    fn every_fixture_has_one_script_that_makes_it() {
        let folders: BTreeSet<_> = SCRIPTS.iter().map(|script| script.place.parts().0).collect();
        for folder in folders {
            let found = files::below(&workspace::root().join(folder)).unwrap();
            assert!(!found.is_empty(), "{folder} is empty");
            for file in found {
                let mine = |s: &&Script| s.place.parts().0 == folder && s.owns(&file);
                let makers: Vec<_> = SCRIPTS.iter().filter(mine).map(|s| s.name).collect();
                assert_eq!(makers.len(), 1, "{folder}/{file}: made by {makers:?}");
            }
        }
    }

    /// What scripts import of the standard library and of checkouts.
    const OTHERS: [&str; 21] = [
        "DDDM",
        "argparse",
        "contextlib",
        "guided_diffusion",
        "importlib",
        "io",
        "json",
        "libs",
        "math",
        "models",
        "os",
        "pathlib",
        "shutil",
        "struct",
        "subprocess",
        "sys",
        "tempfile",
        "types",
        "unittest",
        "warnings",
        "zlib",
    ];

    /// The modules that `text` imports.
    fn imports(text: &str) -> BTreeSet<&str> {
        let lines = text.lines().map(str::trim_start);
        let named = lines.filter_map(|line| {
            let from = line.strip_prefix("from ").filter(|rest| rest.contains(" import "));
            line.strip_prefix("import ").or(from)
        });
        named.filter_map(|rest| rest.split([' ', '.', ',']).next()).collect()
    }

    /// Those of a script and of the scripts that it imports.
    fn all_imports<'a>(name: &str, sources: &'a BTreeMap<String, String>) -> BTreeSet<&'a str> {
        let own = imports(&sources[name]);
        let (local, others): (Vec<&str>, _) =
            own.into_iter().partition(|module| sources.contains_key(*module));
        let theirs = local.into_iter().flat_map(|module| all_imports(module, sources));
        BTreeSet::from_iter(others).into_iter().chain(theirs).collect()
    }

    #[test]
    fn what_a_script_imports_is_what_is_listed() {
        let sources = sources();
        for script in SCRIPTS {
            let mut found = all_imports(script.name, &sources);
            found.retain(|module| !OTHERS.contains(module));
            // What pytorch-fid itself takes its roots with, and what decides its last digits.
            found.extend(["frechet", "metrics"].contains(&script.name).then_some("scipy"));
            assert_eq!(
                found,
                BTreeSet::from_iter(script.modules.iter().copied()),
                "{}",
                script.name
            );
        }
    }

    #[test]
    fn the_docstrings_name_repositories_and_commits_as_they_are_listed() {
        let sources = sources();
        // Scripts of several checkouts name those of other scripts.
        for script in SCRIPTS.iter().filter(|script| script.repositories.len() == 1) {
            let repository = &script.repositories[0];
            let text = &sources[script.name];
            assert_eq!(repository.commit.len(), 40, "{}", repository.folder);
            assert!(text.contains(repository.url), "{}: {}", script.name, repository.url);
            assert!(text.contains(&repository.commit[..7]), "{}", script.name);
        }
    }

    #[test]
    fn names_choose_scripts_in_the_order_of_the_list() {
        let names = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|name| name.to_string()).collect();
            select(&given).map(|found| found.iter().map(|script| script.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["unet", "adm"]).unwrap(), ["adm", "unet"]);
        assert_eq!(names(&[]).unwrap().len(), SCRIPTS.len());
        let error = names(&["unett"]).unwrap_err().to_string();
        assert!(
            error.contains("NAME = unett") && error.contains("did you mean `unet`?"),
            "{error}"
        );
    }
}
