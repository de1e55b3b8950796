//! Timing one piece of work again and again: on its own, or in turns with another program.
//!
//! In turns, a worker prints one JSON line when it is ready, does the work once for every line it
//! reads from stdin, answers each with one JSON line, and ends with its input. Whoever holds the
//! other end decides who computes when, so that two programs can be measured side by side.

use crate::error::Error;
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::{self, BufRead, Write},
    time::Instant,
};

/// What there is to say of a measurement besides its time.
pub type Facts = Map<String, Value>;

/// How often to time, and how to tell: arguments that every `time` command shares.
#[derive(Clone, Debug, clap::Args)]
pub struct Timing {
    /// How often the work is done, after once that does not count.
    #[arg(long, default_value_t = 5, value_name = "N", conflicts_with = "wait")]
    repeats: usize,
    /// Take turns with another program: print a JSON line when ready, then do the work once for
    /// every line of stdin and answer with its JSON line.
    #[arg(long)]
    wait: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Timing {
    /// Refuses to time nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for 0 repeats.
    pub fn check(&self) -> Result<(), Error> {
        match self.repeats {
            0 => Err(Error::argument("repeats", 0, "at least 1")),
            _ => Ok(()),
        }
    }

    /// Times `work`. What it returns goes to `tell`, which is not timed.
    ///
    /// # Errors
    /// Those of `work` and `tell`; a stream that fails.
    pub fn run<T>(
        &self,
        mut work: impl FnMut() -> anyhow::Result<T>,
        mut tell: impl FnMut(T) -> anyhow::Result<Facts>,
    ) -> anyhow::Result<()> {
        self.check()?;
        let mut turn = || -> anyhow::Result<(f64, Facts)> {
            let start = Instant::now();
            let result = work()?;
            let seconds = start.elapsed().as_secs_f64();
            Ok((seconds, tell(result)?))
        };
        if self.wait {
            return answer(io::stdin().lock(), &mut io::stdout().lock(), &mut turn);
        }
        let (_, mut facts) = turn()?;
        let mut times = Vec::with_capacity(self.repeats);
        for _ in 0..self.repeats {
            let (seconds, last) = turn()?;
            times.push(seconds);
            facts = last;
        }
        let mut out = io::stdout().lock();
        if self.json {
            facts.insert("seconds".into(), json!(times));
            facts.insert("median_seconds".into(), json!(median(&times)));
            facts.insert("peak_rss_bytes".into(), json!(peak_memory()));
            writeln!(out, "{}", Value::Object(facts))?;
        } else {
            writeln!(out, "{}", summary(&times))?;
        }
        Ok(())
    }
}

/// The side of the protocol that works.
fn answer(
    input: impl BufRead,
    out: &mut impl Write,
    turn: &mut dyn FnMut() -> anyhow::Result<(f64, Facts)>,
) -> anyhow::Result<()> {
    let mut line = |value: Value| writeln!(out, "{value}").and_then(|()| out.flush());
    line(json!({ "ready": true }))?;
    for asked in input.lines() {
        asked?;
        let (seconds, mut facts) = turn()?;
        facts.insert("seconds".into(), json!(seconds));
        facts.insert("peak_rss_bytes".into(), json!(peak_memory()));
        line(Value::Object(facts))?;
    }
    Ok(())
}

fn summary(times: &[f64]) -> String {
    let (low, high) = range(times);
    let middle = median(times).unwrap_or(f64::NAN);
    let memory = peak_memory().map_or(String::new(), |bytes| {
        format!("; peak memory {:.2} GiB", bytes as f64 / 1024f64.powi(3))
    });
    format!("median {middle:.4} s of {}, {low:.4} to {high:.4} s{memory}", times.len())
}

/// The middle value, or the mean of the middle two; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[half - 1] + upper) / 2.0 })
}

/// The least and the greatest value.
pub fn range(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// The most memory this process has had in use, in bytes, where the system says.
pub fn peak_memory() -> Option<u64> {
    peak_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_answered_by_one_and_the_end_of_input_ends_it() {
        let (mut out, mut turns) = (Vec::new(), 0);
        answer(&b"\ngo\n"[..], &mut out, &mut || {
            turns += 1;
            Ok((0.5, Facts::from_iter([("loss".into(), json!(turns))])))
        })
        .unwrap();
        let lines = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], json!({"ready": true}));
        assert_eq!((&lines[2]["seconds"], &lines[2]["loss"]), (&json!(0.5), &json!(2)));
        assert!(lines[1].get("peak_rss_bytes").is_some());
    }

    #[test]
    fn work_that_fails_ends_the_answers_with_its_error() {
        let mut out = Vec::new();
        let failed = answer(&b"\n\n"[..], &mut out, &mut || anyhow::bail!("no weights"));
        assert_eq!(failed.unwrap_err().to_string(), "no weights");
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(range(&[2.0, 1.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn peak_memory_is_read_in_bytes() {
        assert_eq!(peak_of("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(peak_of("VmPeak:\t 9 kB\n"), None);
    }

    #[test]
    fn a_summary_tells_median_and_range() {
        assert!(summary(&[2.0, 1.0, 4.0]).starts_with("median 2.0000 s of 3, 1.0000 to 4.0000 s"));
    }
}
