//! The table of what was compared.

use super::compare::{Comparison, Verdict};

/// A line of the table.
pub(super) struct Row {
    script: &'static str,
    file: String,
    distance: Option<f64>,
    verdict: String,
    /// Whether it keeps the run from ending well.
    pub(super) fails: bool,
}

impl Row {
    pub(super) fn new(script: &'static str, file: &str, comparison: Comparison) -> Self {
        let (verdict, fails) = match comparison.verdict {
            Verdict::Same => ("same".to_string(), false),
            // Safetensors keep their notes in any order.
            Verdict::Close if comparison.distance.is_none_or(|d| d == 0.0) => {
                ("equal".to_string(), false)
            }
            Verdict::Close => ("close".to_string(), false),
            Verdict::Differs(reason) => (format!("DIFFERS: {reason}"), true),
        };
        Row { script, file: file.to_string(), distance: comparison.distance, verdict, fails }
    }

    /// A script that did not come to its end.
    pub(super) fn failed(script: &'static str, folder: &str, reason: String) -> Self {
        Row { script, file: folder.to_string(), distance: None, verdict: reason, fails: true }
    }

    /// The same after it was put right.
    pub(super) fn written(self) -> Self {
        Row { verdict: self.verdict.replacen("DIFFERS", "written", 1), fails: false, ..self }
    }
}

/// The table, and below it what was skipped.
pub(super) fn text(rows: &[Row], skipped: &[(&str, String)]) -> String {
    let head = ["script", "file", "distance", "verdict"].map(String::from);
    let cells = rows.iter().map(|row| {
        let distance = row.distance.map_or("-".to_string(), number);
        [row.script.to_string(), row.file.clone(), distance, row.verdict.clone()]
    });
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let (script, file, distance) = (width(0), width(1), width(2));
    let table =
        lines.iter().map(|[a, b, c, d]| format!("{a:<script$}  {b:<file$}  {c:>distance$}  {d}\n"));
    let skipped = skipped.iter().map(|(name, reason)| format!("skipped {name}: {reason}\n"));
    table.chain(skipped).collect()
}

fn number(distance: f64) -> String {
    if distance == 0.0 { "0".into() } else { format!("{distance:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_skipped_scripts_at_the_end() {
        let row = |file, distance, verdict| Row::new("adm", file, Comparison { distance, verdict });
        let rows = [
            row("a.json", Some(0.0), Verdict::Same),
            row("long.json", Some(2.5e-7), Verdict::Close),
            row("c.json", Some(0.0), Verdict::Close),
            row("b", None, Verdict::Differs("new".into())).written(),
        ];
        assert!(rows.iter().all(|row| !row.fails));
        let expected = "\
script  file       distance  verdict
adm     a.json            0  same
adm     long.json    2.5e-7  close
adm     c.json            0  equal
adm     b                 -  written: new
skipped unet: why
";
        assert_eq!(text(&rows, &[("unet", "why".into())]), expected);
        assert!(row("b", None, Verdict::Differs("new".into())).fails);
        assert!(Row::failed("adm", "f", "r".into()).fails);
    }
}
