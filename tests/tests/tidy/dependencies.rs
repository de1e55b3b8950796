//! Which crates use which, out of what `cargo metadata` prints.
//!
//! Read as plain JSON: the crate that knows its types turns on features of serde that nothing
//! else here uses, and everything above serde would be built once for the binaries and once more
//! for the tests.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The house from the ground up: a crate may use those before it.
const ORDER: [&str; 5] = ["diff-core", "diff-models", "diff-train", "diff-sample", "diff-eval"];

/// Names, and the names each one uses.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The members of the workspace and the members they name, for whatever purpose.
pub(crate) fn direct(metadata: &Value) -> Graph {
    let members = members(metadata);
    let own = packages(metadata).filter(|package| members.contains(text(package, "name")));
    own.map(|package| {
        let uses = list(package, "dependencies").map(|dependency| text(dependency, "name"));
        let uses = uses.filter(|name| members.contains(*name)).map(String::from).collect();
        (text(package, "name").to_string(), uses)
    })
    .collect()
}

/// All packages and what they link or build with; what only tests use is left out.
pub(crate) fn graph(metadata: &Value) -> Graph {
    let names: BTreeMap<&str, &str> =
        packages(metadata).map(|package| (text(package, "id"), text(package, "name"))).collect();
    let mut graph = Graph::new();
    for node in list(&metadata["resolve"], "nodes") {
        let linked = |dep: &&Value| list(dep, "dep_kinds").any(|kind| kind["kind"] != "dev");
        let uses = list(node, "deps").filter(linked).map(|dep| names[text(dep, "pkg")].to_string());
        graph.entry(names[text(node, "id")].to_string()).or_default().extend(uses);
    }
    graph
}

/// The names of the workspace's members.
pub(crate) fn members(metadata: &Value) -> BTreeSet<String> {
    let ids: BTreeSet<&str> =
        list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let members = packages(metadata).filter(|package| ids.contains(text(package, "id")));
    members.map(|package| text(package, "name").to_string()).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    list(metadata, "packages")
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().unwrap_or_else(|| panic!("cargo metadata has no {key}")).iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("cargo metadata has no {key}"))
}

/// Uses that point the wrong way.
pub(crate) fn upward(graph: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, uses) in graph {
        for used in uses {
            if !may_use(name, used) {
                problems.push(format!("{name} must not use {used}"));
            }
        }
        if !ORDER.contains(&name.as_str()) && !["xtask", "diff-tests"].contains(&name.as_str()) {
            problems.push(format!("{name} has no place in the order of the crates"));
        }
    }
    problems
}

fn may_use(name: &str, used: &str) -> bool {
    let place = |name| ORDER.iter().position(|crate_| *crate_ == name);
    match name {
        "diff-tests" => used != "xtask",
        "xtask" => used == "diff-core",
        _ => matches!((place(name), place(used)), (Some(name), Some(used)) if used < name),
    }
}

/// Packages whose name starts with `prefix` that `from` reaches, by way of what.
pub(crate) fn linked(graph: &Graph, from: &str, prefix: &str) -> Vec<String> {
    assert!(graph.contains_key(from), "{from} is not in the graph");
    let mut paths = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    let mut problems = Vec::new();
    while let Some(path) = paths.pop() {
        let Some(uses) = path.last().and_then(|last| graph.get(*last)) else { continue };
        for used in uses.iter().filter(|used| seen.insert(used.as_str())) {
            let longer = [path.as_slice(), &[used.as_str()]].concat();
            if used.starts_with(prefix) {
                problems.push(longer.join(" -> "));
            }
            paths.push(longer);
        }
    }
    problems
}

/// Lines of one `cargo tree` (a package, its features) that another lacks: what has other features
/// is built again, with all that is above it.
pub(crate) fn not_shared(tree: &str, other: &str) -> Vec<String> {
    let packages = |tree: &str| -> BTreeSet<String> {
        tree.lines().map(|line| line.trim_end_matches(" (*)").to_string()).collect()
    };
    packages(tree).difference(&packages(other)).map(|line| format!("not shared: {line}")).collect()
}

#[test]
fn a_package_with_other_features_is_not_shared() {
    let tests = "serde v1 default,std (*)\nserde v1 default,std\ntoml v1 ";
    assert!(not_shared("serde v1 default,std\n", tests).is_empty());
    assert_eq!(not_shared("serde v1 std\n", tests), ["not shared: serde v1 std"]);
}

fn example(edges: &[(&str, &[&str])]) -> Graph {
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    edges.iter().map(|(name, uses)| (name.to_string(), set(uses))).collect()
}

#[test]
fn what_only_tests_use_is_named_and_not_linked() {
    let metadata = serde_json::json!({
        "workspace_members": ["a#1", "b#1"],
        "packages": [
            {"id": "a#1", "name": "a", "dependencies": [{"name": "b"}, {"name": "x"}]},
            {"id": "b#1", "name": "b", "dependencies": []},
            {"id": "x#1", "name": "x", "dependencies": []},
        ],
        "resolve": {"nodes": [{"id": "a#1", "deps": [
            {"pkg": "b#1", "dep_kinds": [{"kind": "dev"}]},
            {"pkg": "x#1", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
        ]}]},
    });
    assert_eq!(direct(&metadata), example(&[("a", &["b"]), ("b", &[])]));
    assert_eq!(graph(&metadata), example(&[("a", &["x"])]));
}

#[test]
fn an_arrow_that_turns_round_is_found() {
    let good = example(&[("diff-models", &["diff-core"]), ("xtask", &["diff-core"])]);
    assert!(upward(&good).is_empty());
    for (name, used) in [
        ("diff-core", "diff-models"),
        ("diff-train", "diff-sample"),
        ("xtask", "diff-models"),
        ("diff-eval", "xtask"),
    ] {
        let problems = upward(&example(&[(name, &[used])]));
        assert_eq!(problems, [format!("{name} must not use {used}")]);
    }
    assert_eq!(upward(&example(&[("diff-new", &[])])).len(), 1, "a crate without a place");
}

#[test]
fn a_link_is_found_however_far_away() {
    let graph = example(&[("xtask", &["a"]), ("a", &["b", "xtask"]), ("b", &["candle-core"])]);
    assert_eq!(linked(&graph, "xtask", "candle"), ["xtask -> a -> b -> candle-core"]);
    assert!(linked(&graph, "xtask", "torch").is_empty());
}
