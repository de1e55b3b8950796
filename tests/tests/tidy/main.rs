//! The rules of the repository. Each is a function from what it reads to what is wrong, tried
//! here on the repository and beside its definition on something that breaks the rule.

#![cfg(test)]

mod dependencies;
mod documents;
mod files;
mod manifests;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The text of a file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What a command prints, run in the repository.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The tracked files that are text: path and content. A tracked file that was deleted and not
/// yet committed is left out.
fn tracked() -> Vec<(String, String)> {
    let paths = output("git", &["ls-files", "-z"]);
    let paths = paths.split('\0').filter(|path| !path.is_empty());
    let files = paths.filter_map(|path| {
        let bytes = fs::read(root().join(path)).ok()?;
        Some((path.to_string(), String::from_utf8(bytes).ok()?))
    });
    let files: Vec<_> = files.collect();
    assert!(files.iter().any(|(path, _)| path == "Cargo.toml"), "git lists no files");
    files
}

/// The workspace and its dependencies on this kind of machine.
fn metadata() -> Value {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = env!("CARGO");
    let text = output(cargo, &["metadata", "--format-version", "1", "--filter-platform", host]);
    serde_json::from_str(&text).unwrap()
}

/// Fails with what is wrong, a line each.
fn expect_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn crates_depend_only_downward() {
    let found = dependencies::direct(&metadata());
    assert!(found.len() >= 7, "{found:?}");
    expect_none(dependencies::upward(&found));
}

#[test]
fn the_light_crates_link_no_candle() {
    let graph = dependencies::graph(&metadata());
    for light in ["diff-core", "xtask"] {
        expect_none(dependencies::linked(&graph, light, "candle"));
    }
    let heavy = dependencies::linked(&graph, "diff-models", "candle");
    assert!(!heavy.is_empty(), "a graph without candle anywhere proves nothing");
}

#[test]
fn the_tests_build_nothing_twice_that_the_main_job_has_built() {
    let tree = |arguments: &[&str]| {
        let common = ["tree", "--quiet", "--prefix", "none", "--format", "{p} {f}"];
        output(env!("CARGO"), &[&common, arguments].concat())
    };
    let bins = ["-e", "normal,build", "-p", "diff-train", "-p", "diff-sample", "-p", "diff-eval"];
    expect_none(dependencies::not_shared(&tree(&bins), &tree(&["--workspace"])));
}

#[test]
fn no_test_is_ignored() {
    expect_none(tracked().iter().flat_map(|(p, text)| files::ignored_tests(p, text)).collect());
}

#[test]
fn no_file_is_too_long() {
    expect_none(tracked().iter().filter_map(|(path, text)| files::too_long(path, text)).collect());
}

#[test]
fn no_file_names_a_place_on_somebody_s_machine() {
    expect_none(tracked().iter().flat_map(|(p, text)| files::machine_paths(p, text)).collect());
}

#[test]
fn versions_stand_in_the_workspace_table_only() {
    let members = tracked();
    let members = members.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    expect_none(members.flat_map(|(path, text)| manifests::own_versions(path, text)).collect());
}

#[test]
fn the_licence_files_are_those_of_the_manifest() {
    let root = read("Cargo.toml");
    let texts: Vec<_> = tracked().into_iter().filter(|(p, _)| p.starts_with("LICENSE")).collect();
    expect_none(manifests::licences(&manifests::workspace_field(&root, "license"), &texts));
}

#[test]
fn the_changelog_knows_the_version() {
    let version = manifests::workspace_field(&read("Cargo.toml"), "version");
    expect_none(documents::without_version(&read("CHANGELOG.md"), &version));
}

#[test]
fn the_readme_has_its_two_commands() {
    expect_none(documents::missing_commands(&read("README.md")));
}

#[test]
fn the_documents_name_every_crate() {
    let names = dependencies::members(&metadata());
    for path in ["README.md", "ARCHITECTURE.md"] {
        expect_none(documents::unnamed(path, &read(path), &names));
    }
}

#[test]
fn the_checkpoint_manifest_lists_what_is_there() {
    let paths = output("git", &["ls-files", "-z"]);
    let tracked: Vec<String> = paths.split('\0').map(String::from).collect();
    assert!(tracked.iter().any(|path| path.ends_with(".safetensors")), "weights are tracked");
    let hash = |path: &str| {
        let bytes = fs::read(root().join(path)).ok()?;
        Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    };
    expect_none(documents::checkpoints(&read("checkpoints/manifest.json"), &tracked, hash));
}
