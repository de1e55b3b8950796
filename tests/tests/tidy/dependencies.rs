//! Which crates use which.

use cargo_metadata::{DependencyKind, Metadata};
use std::collections::{BTreeMap, BTreeSet};

/// The house from the ground up: a crate may use those before it.
const ORDER: [&str; 5] = ["diff-core", "diff-models", "diff-train", "diff-sample", "diff-eval"];

/// Names, and the names each one uses.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The members of the workspace and the members they name, for whatever purpose.
pub(crate) fn direct(metadata: &Metadata) -> Graph {
    let packages = metadata.workspace_packages();
    let members: BTreeSet<String> = packages.iter().map(|p| p.name.to_string()).collect();
    let uses = |p: &cargo_metadata::Package| -> BTreeSet<String> {
        let names = p.dependencies.iter().map(|dependency| dependency.name.clone());
        names.filter(|name| members.contains(name)).collect()
    };
    packages.iter().map(|package| (package.name.to_string(), uses(package))).collect()
}

/// All packages and what they link or build with; what only tests use is left out.
pub(crate) fn graph(metadata: &Metadata) -> Graph {
    let name = |id| metadata[id].name.to_string();
    let mut graph = Graph::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        let uses = node.deps.iter().filter(|dep| {
            dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
        });
        let names = uses.map(|dep| name(&dep.pkg));
        graph.entry(name(&node.id)).or_default().extend(names);
    }
    graph
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

fn example(edges: &[(&str, &[&str])]) -> Graph {
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    edges.iter().map(|(name, uses)| (name.to_string(), set(uses))).collect()
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
