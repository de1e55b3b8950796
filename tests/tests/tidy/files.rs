//! What may stand in a file.

/// Lines a source file may have: what is longer is two ideas.
const LONGEST: usize = 450;

/// A source file that is too long.
pub(crate) fn too_long(path: &str, text: &str) -> Option<String> {
    let source = [".rs", ".cu", ".py"].iter().any(|ending| path.ends_with(ending));
    let lines = text.lines().count();
    (source && lines > LONGEST).then(|| format!("{path}: {lines} lines, at most {LONGEST}"))
}

/// Tests and examples that are written and never run.
pub(crate) fn ignored_tests(path: &str, text: &str) -> Vec<String> {
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    let ignored = |line: &str| {
        let line = line.trim_start();
        let attribute = line.starts_with("#[") && has_word(line, "ignore");
        let example = line.starts_with("//") && line.contains(concat!("``", "`ignore"));
        attribute || example
    };
    let lines = text.lines().enumerate().filter(|(_, line)| ignored(line));
    lines.map(|(i, line)| format!("{path}:{}: {}", i + 1, line.trim())).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// Where people and machines keep their files; the halves are apart so that this file passes.
const PLACES: [&str; 6] = [
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/mn", "t/"),
    concat!(":\\Us", "ers\\"),
];

/// Paths that exist on one machine only.
pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let begins = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "-_.}/".contains(c))
    };
    let named = |line: &str| {
        PLACES.iter().any(|place| {
            let mut found = line.match_indices(place);
            found.any(|(at, _)| place.starts_with(':') || begins(line, at))
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| named(line));
    lines.map(|(i, line)| format!("{path}:{}: {}", i + 1, line.trim())).collect()
}

#[test]
fn a_long_source_is_found_and_a_long_table_is_not() {
    let text = "x\n".repeat(LONGEST + 1);
    assert!(too_long("a.rs", &text).is_some() && too_long("a.cu", &text).is_some());
    assert!(too_long("a.csv", &text).is_none());
    assert!(too_long("a.rs", &"x\n".repeat(LONGEST)).is_none());
}

#[test]
fn an_ignored_test_is_found_in_every_spelling() {
    let ignore = concat!("ign", "ore");
    for line in [
        format!("    #[{ignore}]"),
        format!("#[{ignore} = \"slow\"]"),
        format!("#[cfg_attr(not(slow), {ignore})]"),
        format!("/// ```{ignore}"),
    ] {
        assert_eq!(ignored_tests("a.rs", &line).len(), 1, "{line}");
    }
    assert!(ignored_tests("a.rs", "let ignored = 1; // ignore\n#[ignored_by_design]").is_empty());
}

#[test]
fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
    for place in PLACES {
        let line = format!("let path = \"C{place}name\";");
        let line = if place.starts_with(':') { line } else { line.replace('C', "") };
        assert_eq!(machine_paths("a.rs", &line).len(), 1, "{line}");
    }
    let relative = concat!("frame", "wo", "rk/x and a/ho", "me/x and ${dir}/wo", "rk/x");
    assert!(machine_paths("a.rs", relative).is_empty());
}
