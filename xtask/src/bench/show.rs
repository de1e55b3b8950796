//! The results as people read them.

use super::{
    peer::Peers,
    result::{Measured, Ratio, Report, TOLERANCE, Times},
};
use diff_core::timing::range;

const HEAD: [&str; 7] =
    ["case", "side", "median", "least .. greatest", "ratio of times", "peak memory", "distance"];

/// More than this of the machine in other hands, and times are to be distrusted.
const BUSY: f64 = 0.1;

/// What was measured on, a table, and how to read it.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("machine  {}\n", machine(report));
    let versions: Vec<&str> = report.binaries.values().map(String::as_str).collect();
    let profile = report.profile.as_deref().map_or("as given".into(), |p| format!("profile {p}"));
    text += &format!("ours     {} ({profile})\n", versions.join(", "));
    text += &match &report.peers {
        Peers::Skipped(reason) => format!("peers    skipped: {reason}\n"),
        Peers::Found { versions, .. } => {
            let version = |name: &str| format!("{name} {}", versions[name].as_str().unwrap_or("?"));
            format!("peers    {}\n", ["torch", "diffusers", "python"].map(version).join(", "))
        }
    };
    let rows: Vec<_> = report.cases.iter().flat_map(rows).collect();
    let notes = report.cases.iter().flat_map(notes);
    text + "\n" + &table(&rows) + &notes.collect::<String>() + &legend(report)
}

fn machine(report: &Report) -> String {
    let (machine, threads) = (&report.machine, report.threads);
    let processor = match machine.processor.as_str() {
        "" => "unknown processor",
        name => name,
    };
    format!("{processor}, {} cores; every side on {threads} threads", machine.cores)
}

fn rows(case: &Measured) -> Vec<[String; 7]> {
    let mut rows = Vec::new();
    for (i, side) in case.sides.iter().filter(|side| side.failed.is_none()).enumerate() {
        let name = match i {
            0 => case.name(),
            _ => String::new(),
        };
        let star = if case.bar.as_ref() == Some(&side.name) { " *" } else { "" };
        let ratios = case.ratios.iter().filter(|ratio| ratio.over[0] == side.name);
        let mut ratios = ratios.map(ratio);
        let [median, spread, memory, distance] = figures(side);
        let first = ratios.next().unwrap_or_default();
        rows.push([name, format!("{}{star}", side.name), median, spread, first, memory, distance]);
        let more = ratios.map(|ratio| {
            let mut row: [String; 7] = Default::default();
            row[4] = ratio;
            row
        });
        rows.extend(more);
    }
    rows
}

fn figures(side: &Times) -> [String; 4] {
    let median = side.median_seconds.map_or(String::new(), |median| format!("{median:.4} s"));
    let (least, greatest) = range(&side.seconds);
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / 1024f64.powi(3));
    let distances: Vec<String> =
        side.errors.iter().map(|(name, error)| format!("{name} {error:.1e}")).collect();
    let memory = side.peak_rss_bytes.map_or(String::new(), gib);
    [median, format!("{least:.4} .. {greatest:.4} s"), memory, distances.join(", ")]
}

fn ratio(ratio: &Ratio) -> String {
    let Ratio { over: [top, bottom], median, min, max } = ratio;
    format!("{top} / {bottom} = {median:.3} ({min:.3} .. {max:.3})")
}

/// What went wrong, a line each.
fn notes(case: &Measured) -> Vec<String> {
    let note = |text: String| format!("{}: {text}\n", case.name());
    let failed = case.sides.iter().filter_map(|side| Some((&side.name, side.failed.as_ref()?)));
    let failed = failed.map(|(name, reason)| note(format!("{name} failed: {reason}")));
    let busy = case.busy.filter(|share| *share > BUSY).map(|share| {
        let percent = 100.0 * share;
        note(format!("distrust it, other programs used {percent:.0} % of the machine meanwhile"))
    });
    failed.chain(busy).collect()
}

fn table(rows: &[[String; 7]]) -> String {
    let head = HEAD.map(String::from);
    let width = |i: usize| {
        let cells = std::iter::once(&head).chain(rows).map(|row| row[i].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            2 | 3 | 5 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

fn legend(report: &Report) -> String {
    let mut text = format!(
        "\nTimes are medians over {} rounds; a ratio is the median over rounds of one side's time \
         over another's.\n",
        report.repeats
    );
    if matches!(report.peers, Peers::Found { .. }) {
        text += &format!(
            "Above 1 over ours, ours is faster. * the bar: the faster of PyTorch's f32 memory formats.\n\
             Distances are ||theirs - ours|| / ||ours||, at most {TOLERANCE:e} in f32; bf16 is another \
             number format.\n"
        );
    }
    text + "Peak memory is that of the process since its start, its libraries included.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::result::tests::times, machine::Machine};
    use std::collections::BTreeMap;

    #[test]
    fn a_table_names_both_sides_of_every_ratio_and_every_failure() {
        let peer = Times {
            peak_rss_bytes: Some(3 << 29),
            errors: BTreeMap::from([("output".into(), 2.5e-6)]),
            ..times("contiguous", &[0.5, 0.25, 0.75])
        };
        let failed = Times { failed: Some("no compiler".into()), ..times("compile", &[]) };
        let sides = vec![times("ours", &[1.0, 1.0, 1.0]), peer, failed];
        let alone = vec![times("sa", &[2.0]), times("a", &[1.0]), times("b", &[2.0])];
        let report = Report {
            machine: Machine::default(),
            profile: Some("dev".into()),
            binaries: BTreeMap::from([("diff-models".into(), "diff-models 1".into())]),
            peers: Peers::Found { python: "p".into(), versions: serde_json::json!({"torch": "2"}) },
            threads: 2,
            repeats: 3,
            cases: vec![
                Measured::new("forward", 8, sides, true),
                Measured { busy: Some(0.456), ..Measured::new("sequence", 8, alone, false) },
            ],
        };
        let text = text(&report);
        for part in [
            "every side on 2 threads",
            "diff-models 1 (profile dev)",
            "torch 2, diffusers ?",
            "contiguous *",
            "0.5000 s",
            "0.2500 .. 0.7500 s",
            "contiguous / ours = 0.500 (0.250 .. 0.750)",
            "1.50 GiB",
            "output 2.5e-6",
            "forward, batch 8: compile failed: no compiler\n",
            "sa / a = 2.000 (2.000 .. 2.000)",
            "sa / b = 1.000 (1.000 .. 1.000)",
            "sequence, batch 8: distrust it, other programs used 46 % of",
            "over 3 rounds",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let found = text.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(found, 3, "a line for every ratio");
    }
}
