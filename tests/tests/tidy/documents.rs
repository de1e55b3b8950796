//! What the documents promise.

use serde_json::Value;
use std::collections::BTreeSet;

/// The README's commands, by the marker above their code block.
const COMMANDS: [(&str, &str); 2] =
    [("reproduce", "cargo xtask reproduce --quick"), ("test", "cargo test --workspace")];

/// Commands that the README does not give as a block of their own, below their marker.
pub(crate) fn missing_commands(readme: &str) -> Vec<String> {
    let block = |(name, command): (&str, &str)| {
        format!("<!-- command: {name} -->\n\n```sh\n{command}\n```\n")
    };
    let missing = COMMANDS.into_iter().filter(|&entry| !readme.contains(&block(entry)));
    missing.map(|(_, command)| format!("README.md: no block for `{command}`")).collect()
}

/// A changelog without a section for the version.
pub(crate) fn without_version(changelog: &str, version: &str) -> Vec<String> {
    let heading = format!("## [{version}]");
    match changelog.lines().any(|line| line.starts_with(&heading)) {
        true => Vec::new(),
        false => vec![format!("CHANGELOG.md: no line begins with `{heading}`")],
    }
}

/// Names that a document does not mention as code.
pub(crate) fn unnamed(path: &str, text: &str, names: &BTreeSet<String>) -> Vec<String> {
    let missing = names.iter().filter(|name| !text.contains(&format!("`{name}`")));
    missing.map(|name| format!("{path}: does not mention `{name}`")).collect()
}

/// Differences between the manifest of checkpoints and the tracked files, whose SHA-256 `hash` tells.
pub(crate) fn checkpoints(
    manifest: &str,
    tracked: &[String],
    hash: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    let listed: Vec<&Value> = manifest["checkpoints"].as_array().unwrap().iter().collect();
    let mut problems = Vec::new();
    let mut names = Vec::new();
    for checkpoint in listed {
        let name = checkpoint["name"].as_str().unwrap_or_default();
        names.push(format!("checkpoints/{name}/"));
        for field in ["name", "source", "revision", "licence", "recipe", "result", "files"] {
            if checkpoint[field].is_null() {
                problems.push(format!("checkpoint {name:?} has no {field}"));
            }
        }
        for (file, sha256) in checkpoint["files"].as_object().into_iter().flatten() {
            let path = format!("checkpoints/{name}/{file}");
            if hash(&path).as_deref() != sha256.as_str() {
                problems.push(format!("{path} is not the file whose hash is listed"));
            }
        }
    }
    let weights = tracked.iter().filter(|path| path.ends_with(".safetensors"));
    for path in weights.filter(|path| path.starts_with("checkpoints/")) {
        if !names.iter().any(|folder| path.starts_with(folder)) {
            problems.push(format!("{path} is not in the manifest"));
        }
    }
    problems
}

#[test]
fn a_readme_without_a_command_is_found() {
    let block = |(name, command)| format!("<!-- command: {name} -->\n\n```sh\n{command}\n```\n");
    let good: String = COMMANDS.into_iter().map(block).collect();
    assert!(missing_commands(&good).is_empty());
    assert_eq!(missing_commands(&good.replace("--workspace", "")).len(), 1);
    assert_eq!(missing_commands("cargo test --workspace").len(), 2);
}

#[test]
fn a_changelog_behind_the_version_is_found() {
    assert!(without_version("# Changelog\n\n## [0.2.0] - unreleased\n", "0.2.0").is_empty());
    assert_eq!(without_version("## [0.2.0]\n", "0.3.0").len(), 1);
}

#[test]
fn a_crate_nobody_mentions_is_found() {
    let names = BTreeSet::from(["a".to_string(), "b".to_string()]);
    assert_eq!(unnamed("X", "only `a`, and b in passing", &names).len(), 1);
}

#[test]
fn weights_outside_the_manifest_and_entries_without_fields_are_found() {
    let tracked = ["checkpoints/x/unet/w.safetensors".to_string()];
    let hash = |path: &str| path.ends_with("/a").then(|| "0a".to_string());
    assert_eq!(checkpoints(r#"{"checkpoints": []}"#, &tracked, hash).len(), 1);
    assert!(checkpoints(r#"{"checkpoints": []}"#, &[], hash).is_empty());
    let bare = r#"{"checkpoints": [{"name": "x"}]}"#;
    assert_eq!(checkpoints(bare, &tracked, hash).len(), 6);
    let files = |files: &str| {
        let fields = r#""source": 1, "revision": 1, "licence": 1, "recipe": 1, "result": 1"#;
        format!(r#"{{"checkpoints": [{{"name": "x", {fields}, "files": {files}}}]}}"#)
    };
    assert!(checkpoints(&files(r#"{"a": "0a"}"#), &tracked, hash).is_empty());
    assert_eq!(checkpoints(&files(r#"{"a": "0b", "gone": "0a"}"#), &tracked, hash).len(), 2);
}
