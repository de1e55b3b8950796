//! What the manifests say.

use toml::{Table, Value};

/// Dependencies of a member that do not take everything but features from the workspace.
pub(crate) fn own_versions(path: &str, text: &str) -> Vec<String> {
    let manifest: Table = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut tables = dependency_tables(&manifest);
    for target in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        tables.extend(target.1.as_table().into_iter().flat_map(dependency_tables));
    }
    let inherited = |value: &Value| value.get("workspace") == Some(&Value::Boolean(true));
    let own = tables.into_iter().flatten().filter(|(_, value)| !inherited(value));
    own.map(|(name, _)| format!("{path}: {name} does not come from the workspace")).collect()
}

fn dependency_tables(table: &Table) -> Vec<&Table> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|kind| table.get(*kind)?.as_table())
        .collect()
}

/// A field of `[workspace.package]`.
pub(crate) fn workspace_field(root: &str, field: &str) -> String {
    let manifest: Table = root.parse().unwrap();
    let value = manifest["workspace"]["package"][field].as_str();
    value.unwrap_or_else(|| panic!("workspace.package.{field} is not text")).to_string()
}

/// Differences between a licence expression and the licence files: path, text.
pub(crate) fn licences(expression: &str, files: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expected = Vec::new();
    for licence in expression.split(" OR ") {
        let (path, opening) = match licence {
            "MIT" => ("LICENSE-MIT", "Permission is hereby granted, free of charge"),
            "Apache-2.0" => ("LICENSE-APACHE", "Version 2.0, January 2004"),
            other => {
                problems.push(format!("no licence file is known for {other}"));
                continue;
            }
        };
        expected.push(path);
        if !files.iter().any(|(found, text)| found == path && text.contains(opening)) {
            problems.push(format!("{path} is not the text of {licence}"));
        }
    }
    let extra = files.iter().filter(|(path, _)| !expected.contains(&path.as_str()));
    problems.extend(extra.map(|(path, _)| format!("{path} is not in `{expression}`")));
    problems
}

#[test]
fn a_version_of_one_s_own_is_found_wherever_it_hides() {
    let good = "[dependencies]\nserde.workspace = true\nclap = { workspace = true }";
    assert!(own_versions("a", good).is_empty());
    for bad in [
        "[dependencies]\nserde = '1'",
        "[dev-dependencies]\nserde = { version = '1' }",
        "[build-dependencies]\ncc = { path = '../cc' }",
        "[target.'cfg(unix)'.dependencies]\nlibc = '0.2'",
    ] {
        assert_eq!(own_versions("a", bad).len(), 1, "{bad}");
    }
}

#[test]
fn licence_files_that_lack_or_contradict_the_manifest_are_found() {
    let mit = ("LICENSE-MIT".to_string(), "Permission is hereby granted, free of charge".into());
    assert!(licences("MIT", std::slice::from_ref(&mit)).is_empty());
    assert_eq!(licences("MIT OR Apache-2.0", std::slice::from_ref(&mit)).len(), 1);
    assert_eq!(licences("Apache-2.0", std::slice::from_ref(&mit)).len(), 2);
    assert_eq!(licences("MIT", &[("LICENSE-MIT".into(), "all rights reserved".into())]).len(), 1);
    assert_eq!(licences("WTFPL", &[]).len(), 1);
}
