//! KID (Binkowski et al., 2018).

use super::{Compared, Finding, Measure, distance::kept};
use crate::{Error, Interval, Kid, KidSettings, Needs, Result, kid};
use serde_json::json;

pub(super) const KID: Measure = Measure {
    name: "kid",
    titles: ["KID", "KD"],
    about: "squared maximum mean discrepancy of the features under a cubic kernel, unbiased",
    needs: |_| {
        let rows = Needs { rows: true, ..Needs::default() };
        (rows, Some(rows))
    },
    take,
};

fn take(compared: &Compared) -> Result<Finding> {
    let nothing = || Error::Mismatch("KID takes the rows of two sets".into());
    let (samples, reference) = (kept(compared.samples)?, compared.reference.ok_or_else(nothing)?);
    let reference = kept(reference)?;
    let found = kid(samples, reference, &compared.settings.kid)?;
    let mut finding = Finding { value: found.mean, ..Finding::default() };
    let with = compared.settings.kid;
    finding.interval = spread(&found, with, samples.len().min(reference.len()));
    finding.details.insert("deviation".into(), json!(found.deviation));
    finding.details.insert("subsets".into(), json!(with.subsets));
    finding.details.insert("subset_size".into(), json!(with.size));
    finding.details.insert("subset_seed".into(), json!(with.seed));
    Ok(finding)
}

/// Where the estimate of as many other pictures would fall, by subsampling (Politis and Romano, 1994):
/// subsets of m of N pictures spread as sqrt(1/m - 1/N), estimates of N pictures as sqrt(1/N). None of
/// subsets that are the whole set or nearly so, which say nothing.
fn spread(found: &Kid, with: KidSettings, pictures: usize) -> Option<Interval> {
    let share = with.size as f64 / pictures as f64;
    let half = 1.96 * found.deviation * (share / (1.0 - share)).sqrt();
    (share <= 0.5 && with.subsets > 1)
        .then_some(Interval { low: found.mean - half, high: found.mean + half })
}
