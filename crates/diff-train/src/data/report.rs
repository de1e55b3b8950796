use super::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was found at a source besides its pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files that are no pictures by their name.
    pub ignored: u64,
    /// Pictures left out, by reason.
    pub bad: BTreeMap<Fault, u64>,
    /// The first of them.
    pub examples: Vec<Example>,
    /// Pictures that something was decided about: grey made RGB, 16-bit, palette, CMYK,
    /// alpha, enlarged.
    pub decided: BTreeMap<String, u64>,
}

/// A picture that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its name at the source.
    pub name: String,
    /// Why.
    pub fault: Fault,
    /// Why, in the decoder's words.
    pub reason: String,
}

const EXAMPLES: usize = 5;

impl Report {
    /// Number of pictures left out.
    pub fn left_out(&self) -> u64 {
        self.bad.values().sum()
    }

    pub(super) fn add_bad(&mut self, name: &str, fault: Fault, reason: &str) {
        *self.bad.entry(fault).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            let (name, reason) = (name.to_string(), reason.to_string());
            self.examples.push(Example { name, fault, reason });
        }
    }

    pub(super) fn add_decided(&mut self, what: impl ToString) {
        *self.decided.entry(what.to_string()).or_default() += 1;
    }

    /// One line about the pictures left out, if there are any.
    pub fn warning(&self) -> Option<String> {
        let left_out = self.left_out();
        if left_out == 0 {
            return None;
        }
        let kinds: Vec<String> = self.bad.iter().map(|(fault, n)| format!("{n} {fault}")).collect();
        let told = |e: &Example| match e.reason.is_empty() {
            true => e.name.clone(),
            false => format!("{} ({})", e.name, e.reason),
        };
        let names: Vec<String> = self.examples.iter().map(told).collect();
        let more = if left_out as usize > names.len() { ", ..." } else { "" };
        let (kinds, names) = (kinds.join(", "), names.join(", "));
        Some(format!("{left_out} bad pictures left out: {kinds}: {names}{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_counts_all_and_names_the_first() {
        let mut report = Report::default();
        assert_eq!(report.warning(), None);
        for i in 0..7 {
            report.add_bad(&format!("p{i}.png"), Fault::Empty, "");
        }
        report.add_bad("x.png", Fault::TooLarge, "1e9 pixels");
        let text = report.warning().unwrap();
        assert!(text.starts_with("8 bad pictures left out: 7 empty, 1 too large: p0.png, p1.png"));
        assert!(text.ends_with("p4.png, ...") && !text.contains("p5.png"), "{text}");
    }
}
