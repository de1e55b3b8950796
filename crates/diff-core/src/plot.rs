//! Line charts as SVG text, without any dependency: white ground, quiet grid, colours that
//! colour-blind readers can tell apart (Okabe & Ito), and a different dash for every repeat.

mod axis;

use axis::Axis;
use std::fmt::Write;

/// A named line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points (x, y), joined in this order; a point that cannot be drawn breaks the line.
    pub points: Vec<(f64, f64)>,
}

/// A chart of one or more lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// Heading, also the accessible title.
    pub title: String,
    /// Name of the horizontal axis.
    pub x_label: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// Logarithmic horizontal axis; points at or below 0 are not drawn.
    pub x_log: bool,
    /// Logarithmic vertical axis; points at or below 0 are not drawn.
    pub y_log: bool,
    /// The lines, drawn in this order.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 352.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 736.0;
/// Where the first row of the legend stands, below the name of the horizontal axis.
const LEGEND: f64 = 418.0;
const LEGEND_ROW: f64 = 22.0;
const COLOURS: [&str; 7] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
const DASHES: [&str; 3] = ["", "7 4", "2 3"];
/// More points than pixels add nothing but bytes.
const MOST_POINTS: usize = 1500;

impl LineChart {
    /// The chart as one `<svg>` element. Text is escaped; a chart without a drawable point is an
    /// empty frame.
    pub fn to_svg(&self) -> String {
        let (body, height) = self.body();
        page(&body, height)
    }

    /// What stands on the page, and how much of its height that takes.
    fn body(&self) -> (String, f64) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let drawable = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
        let shown =
            || points().filter(|(x, y)| drawable(*x, self.x_log) && drawable(*y, self.y_log));
        let x = Axis::around(shown().map(|p| p.0), self.x_log, false, LEFT, RIGHT);
        let y = Axis::around(shown().map(|p| p.1), self.y_log, true, BOTTOM, TOP);
        let legend = self.legend();
        let height = legend.bottom + 10.0;
        let mut svg = format!(
            r##"<title>{title}</title>
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
<text x="{LEFT}" y="28" font-size="16" font-weight="600" fill="#111">{title}</text>
"##,
            title = escape(&self.title),
        );
        svg += &self.frame(&x, &y);
        for (i, series) in self.series.iter().enumerate() {
            svg += &line(i, series, &x, &y);
        }
        svg += &legend.svg;
        (svg, height)
    }

    /// Grid, tick labels and axis names.
    fn frame(&self, x: &Axis, y: &Axis) -> String {
        let mut grid = String::from("<g stroke=\"#e4e4e4\">\n");
        let mut labels = String::new();
        for (at, label) in x.ticks() {
            grid += &format!("<path d=\"M{at:.1} {TOP}V{BOTTOM}\"/>\n");
            let base = BOTTOM + 19.0;
            labels += &format!(
                "<text x=\"{at:.1}\" y=\"{base}\" text-anchor=\"middle\">{label}</text>\n"
            );
        }
        for (at, label) in y.ticks() {
            grid += &format!("<path d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\n");
            let (end, base) = (LEFT - 8.0, at + 4.5);
            labels +=
                &format!("<text x=\"{end}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>\n");
        }
        let (centre, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 43.0);
        let middle = (TOP + BOTTOM) / 2.0;
        format!(
            r##"{grid}</g>
<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#777"/>
{labels}<text x="{centre}" y="{below}" text-anchor="middle">{x_label}</text>
<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{y_label}</text>
"##,
            x_label = escape(&self.x_label),
            y_label = escape(&self.y_label),
        )
    }

    /// Names of the lines in rows below the chart; nothing for a single line without a name.
    fn legend(&self) -> Legend {
        let mut svg = String::new();
        let (mut left, mut base) = (LEFT, LEGEND);
        for (i, series) in self.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
            // Proportional type: 7.5 units a character is on the wide side at this size.
            let width = 40.0 + 7.5 * series.name.chars().count() as f64;
            if left > LEFT && left + width > RIGHT {
                (left, base) = (LEFT, base + LEGEND_ROW);
            }
            let (stroke, middle, text) = (stroke(i), base - 4.5, left + 32.0);
            let _ = write!(
                svg,
                "<path d=\"M{left:.1} {middle}h26\" {stroke}/>\n<text x=\"{text:.1}\" y=\"{base}\">{}</text>\n",
                escape(&series.name)
            );
            left += width + 12.0;
        }
        let bottom = if svg.is_empty() { BOTTOM + 43.0 } else { base };
        Legend { svg, bottom }
    }
}

/// Charts one below the other, as one `<svg>` element.
pub fn stacked(charts: &[LineChart]) -> String {
    let (mut content, mut height) = (String::new(), 0.0);
    for (body, own) in charts.iter().map(LineChart::body) {
        content += &format!("<g transform=\"translate(0 {height})\">\n{body}</g>\n");
        height += own;
    }
    page(&content, height)
}

fn page(content: &str, height: f64) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13" fill="#333">
{content}</svg>
"##
    )
}

struct Legend {
    svg: String,
    /// Where the last row stands.
    bottom: f64,
}

fn line(index: usize, series: &Series, x: &Axis, y: &Axis) -> String {
    let stroke = stroke(index);
    let (mut path, mut dots) = (String::new(), String::new());
    let mut run: Vec<(f64, f64)> = Vec::new();
    let mut finish = |run: &mut Vec<(f64, f64)>| {
        match run.as_slice() {
            [] => {}
            [(x, y)] => {
                let colour = COLOURS[index % COLOURS.len()];
                dots +=
                    &format!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"3\" fill=\"{colour}\"/>\n");
            }
            many => {
                for (i, (x, y)) in many.iter().enumerate() {
                    path += &format!("{}{x:.2} {y:.2}", if i == 0 { 'M' } else { 'L' });
                }
            }
        }
        run.clear();
    };
    for (px, py) in thinned(&series.points) {
        match (x.place(px), y.place(py)) {
            (Some(px), Some(py)) => run.push((px, py)),
            _ => finish(&mut run),
        }
    }
    finish(&mut run);
    if !path.is_empty() {
        path = format!("<path d=\"{path}\" stroke-linejoin=\"round\" {stroke}/>\n");
    }
    path + &dots
}

/// At most about [`MOST_POINTS`] of the points: of every bucket the lowest and the highest y, so
/// that spikes survive, besides the first and the last point.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let bucket = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept = vec![0, points.len() - 1];
    for start in (0..points.len()).step_by(bucket) {
        let members = start..(start + bucket).min(points.len());
        kept.extend(members.clone().min_by(|a, b| points[*a].1.total_cmp(&points[*b].1)));
        kept.extend(members.max_by(|a, b| points[*a].1.total_cmp(&points[*b].1)));
    }
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|i| points[i]).collect()
}

fn stroke(index: usize) -> String {
    let colour = COLOURS[index % COLOURS.len()];
    let dash = match DASHES[index / COLOURS.len() % DASHES.len()] {
        "" => String::new(),
        dash => format!(" stroke-dasharray=\"{dash}\""),
    };
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}")
}

/// Text for an XML element or attribute; characters that XML forbids become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> LineChart {
        LineChart {
            title: "a < b & \"c\"".into(),
            series: vec![Series { name: "one\u{0}".into(), points }],
            ..LineChart::default()
        }
    }

    fn count(text: &str, part: &str) -> usize {
        text.matches(part).count()
    }

    #[test]
    fn text_is_escaped() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 2.0)]).to_svg();
        assert!(svg.contains("<title>a &lt; b &amp; &quot;c&quot;</title>"), "{svg}");
        assert!(!svg.contains('\u{0}') && svg.contains("one\u{fffd}"));
    }

    #[test]
    fn charts_stand_below_each_other_on_one_page() {
        let one = chart(vec![(0.0, 1.0), (1.0, 2.0)]);
        let height = |svg: &str| {
            svg.split("height=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        let (single, both) = (one.to_svg(), stacked(&[one.clone(), one]));
        assert_eq!(height(&both), 2.0 * height(&single));
        assert!(both.contains(&format!("translate(0 {})", height(&single))));
        assert_eq!((count(&both, "<svg"), count(&both, "</svg>")), (1, 1));
        assert_eq!((count(&both, "linejoin"), count(&both, "<g"), count(&both, "</g>")), (2, 4, 4));
    }

    #[test]
    fn what_cannot_be_drawn_breaks_the_line() {
        let mut chart = chart(vec![
            (1.0, 1.0),
            (2.0, 2.0),
            (3.0, f64::NAN),
            (4.0, 0.0),
            (5.0, 3.0),
            (6.0, 4.0),
        ]);
        let linear = chart.to_svg();
        assert!(!linear.contains("NaN") && !linear.contains("inf"));
        // The line's own path: two pieces on a linear axis, the second from (4, 0) on.
        let path = |svg: &str| svg.lines().find(|l| l.contains("linejoin")).unwrap().to_string();
        assert_eq!((count(&path(&linear), "M"), count(&path(&linear), "L")), (2, 3));
        chart.y_log = true;
        let log = chart.to_svg();
        assert_eq!((count(&path(&log), "M"), count(&path(&log), "L")), (2, 2));
    }

    #[test]
    fn a_lone_point_is_a_dot_and_no_point_an_empty_frame() {
        assert_eq!(count(&chart(vec![(3.0, 3.0)]).to_svg(), "<circle"), 1);
        let unbounded = vec![(0.0, f64::MAX), (1.0, -f64::MAX)];
        for points in [vec![], vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)], unbounded] {
            let svg = chart(points).to_svg();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("linejoin") && !svg.contains("NaN"));
        }
        assert!(LineChart::default().to_svg().ends_with("</svg>\n"));
    }

    #[test]
    fn points_land_inside_the_frame_in_their_order() {
        for scale in [1e-300, 1e-9, 1.0, 1e12, 1e300] {
            for log in [false, true] {
                let points = (1..=50).map(|i| (i as f64, i as f64 * scale)).collect();
                let svg = LineChart { y_log: log, ..chart(points) }.to_svg();
                let path = svg.lines().find(|l| l.contains("linejoin")).unwrap();
                let d = path.split('"').nth(1).unwrap().replace(['M', 'L'], " ");
                let numbers: Vec<f64> = d.split_whitespace().map(|n| n.parse().unwrap()).collect();
                for pair in numbers.chunks(2) {
                    assert!((LEFT..=RIGHT).contains(&pair[0]) && (TOP..=BOTTOM).contains(&pair[1]));
                }
                assert!(
                    numbers.chunks(2).collect::<Vec<_>>().windows(2).all(|w| w[1][1] < w[0][1])
                );
            }
        }
    }

    #[test]
    fn a_long_line_keeps_its_spikes_and_ends() {
        let mut points: Vec<_> = (0..100_000).map(|i| (i as f64, 0.5)).collect();
        points[54_321].1 = 9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS + 2 && thin.contains(&(54_321.0, 9.0)));
        assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[99_999]));
    }
}
