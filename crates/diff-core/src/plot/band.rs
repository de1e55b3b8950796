//! The interval around a line.

use super::{Axis, MOST_POINTS};

/// An interval on the page: x, where it begins, where it ends.
type Placed = (f64, f64, f64);

/// The area between low and high in translucent currentColor; a lone interval is a bar. What
/// cannot be drawn breaks it.
pub(super) fn area(band: &[(f64, f64, f64)], x: &Axis, y: &Axis) -> String {
    let mut svg = String::new();
    let mut run: Vec<Placed> = Vec::new();
    for interval in thinned(band) {
        match placed(interval, x, y) {
            Some(place) => run.push(place),
            None => svg += &piece(&std::mem::take(&mut run)),
        }
    }
    svg + &piece(&run)
}

fn placed((at, low, high): (f64, f64, f64), x: &Axis, y: &Axis) -> Option<Placed> {
    let low = if y.log && low <= 0.0 { Some(y.start) } else { y.place(low) };
    Some((x.place(at)?, low?, y.place(high)?))
}

fn piece(run: &[Placed]) -> String {
    match run {
        [] => String::new(),
        [(x, low, high)] => format!(
            "<path d=\"M{x:.2} {low:.2}V{high:.2}\" stroke=\"currentColor\" stroke-width=\"6\" \
             stroke-opacity=\"0.3\"/>\n"
        ),
        many => {
            let there = many.iter().map(|(x, _, high)| format!("{x:.2} {high:.2}"));
            let back = many.iter().rev().map(|(x, low, _)| format!("{x:.2} {low:.2}"));
            let points: Vec<String> = there.chain(back).collect();
            format!(
                "<path d=\"M{}Z\" fill=\"currentColor\" fill-opacity=\"0.18\"/>\n",
                points.join("L")
            )
        }
    }
}

/// Of a long band neighbouring intervals as one that covers them.
fn thinned(band: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
    let cover = |part: &[(f64, f64, f64)]| {
        let (low, high) = part.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| {
            (low.min(p.1), high.max(p.2))
        });
        (part[part.len() / 2].0, low, high)
    };
    band.chunks(band.len().div_ceil(MOST_POINTS).max(1)).map(cover).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(log: bool) -> (Axis, Axis) {
        let values = [1.0, 100.0].into_iter();
        let y = Axis::around(values.clone(), log, false, 100.0, 0.0);
        (Axis::around(values, false, false, 0.0, 99.0), y)
    }

    #[test]
    fn an_area_runs_along_the_highs_and_back_along_the_lows() {
        let (x, y) = axes(false);
        let svg = area(&[(1.0, 1.0, 50.5), (100.0, 50.5, 100.0)], &x, &y);
        assert!(svg.contains("d=\"M0.00 50.00L99.00 0.00L99.00 50.00L0.00 100.00Z\""), "{svg}");
        assert_eq!(area(&[], &x, &y), "");
    }

    #[test]
    fn a_lone_interval_is_a_bar_and_a_hole_breaks_the_area() {
        let (x, y) = axes(false);
        let hole = [(1.0, 1.0, 2.0), (2.0, f64::NAN, 2.0), (3.0, 1.0, 2.0), (4.0, 1.0, 2.0)];
        let svg = area(&hole, &x, &y);
        assert_eq!((svg.matches("stroke-opacity").count(), svg.matches('Z').count()), (1, 1));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn on_a_logarithmic_axis_an_interval_from_below_zero_reaches_the_frame() {
        let (x, y) = axes(true);
        let svg = area(&[(1.0, -3.0, 10.0)], &x, &y);
        assert!(svg.contains("M0.00 100.00V50.00"), "{svg}");
    }

    #[test]
    fn a_long_band_is_covered_by_few_intervals() {
        let mut band: Vec<_> = (0..50_000).map(|i| (f64::from(i), 0.0, 1.0)).collect();
        band[777] = (777.0, -5.0, 9.0);
        let thin = thinned(&band);
        assert!(thin.len() <= MOST_POINTS);
        assert!(thin.iter().any(|p| (p.1, p.2) == (-5.0, 9.0)));
    }
}
