//! Measured gaps as a file of columns and as a chart.

use super::{GapCurves, GapRequest, Scalar};
use diff_core::plot::{LineChart, Series};

/// Columns `t` and `NAME.SCALAR` for every network and scalar, a row a time from t0 down to 2, in
/// the shortest digits that read back exactly. The curves have the same t0.
pub fn csv(measured: &[(String, GapCurves)]) -> String {
    let columns: Vec<(String, &[f64])> = measured
        .iter()
        .flat_map(|(name, curves)| {
            Scalar::ALL.map(|s| (field(&format!("{name}.{}", s.name())), curves.curve(s)))
        })
        .collect();
    let mut out = String::from("t");
    for (name, _) in &columns {
        out += &format!(",{name}");
    }
    out.push('\n');
    let times = measured.first().map(|(_, curves)| curves.times());
    for (row, t) in times.into_iter().flatten().enumerate() {
        out += &t.to_string();
        for (_, values) in &columns {
            out += &format!(",{:e}", values[row]);
        }
        out.push('\n');
    }
    out
}

/// A field of a CSV file, quoted if it has to be.
pub(crate) fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

/// One line a network, in the shape of SA-DPM's figures 4 and 5: from t0 on the left to 2 on the
/// right, so that what is on the axis is the number of steps taken.
pub fn chart(measured: &[(String, GapCurves)], scalar: Scalar, request: &GapRequest) -> LineChart {
    let line = |(name, curves): &(String, GapCurves)| {
        let points = curves.times().zip(curves.curve(scalar));
        let place = |t: usize| (request.start - t) as f64;
        Series {
            name: name.clone(),
            points: points.map(|(t, y)| (place(t), *y)).collect(),
            ..Series::default()
        }
    };
    LineChart {
        title: format!(
            "Estimation gap: {}, {} pictures, eta = {}",
            scalar.name(),
            request.num,
            request.eta
        ),
        x_label: format!("steps taken, from t = {} down to t = 2", request.start),
        y_label: scalar.label().into(),
        series: measured.iter().map(line).collect(),
        ..LineChart::default()
    }
}
