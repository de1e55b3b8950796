//! Line charts as SVG text, without any dependency: white ground, quiet grid, colours that
//! colour-blind readers can tell apart (Okabe & Ito), and a different dash for every repeat.

mod axis;
mod band;

pub use axis::Axis;
use std::fmt::Write;

/// A named line, and how sure it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points (x, y), joined in this order; a point that cannot be drawn breaks the line.
    pub points: Vec<(f64, f64)>,
    /// Intervals (x, low, high) around it, drawn translucent below all lines; may be empty. On a
    /// logarithmic axis an interval that begins at or below 0 reaches down to the frame.
    pub band: Vec<(f64, f64, f64)>,
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

/// A chart without heading and legend, for a page that has its own, and narrow, so that its text
/// can still be read on a telephone.
#[derive(Clone, Debug, PartialEq)]
pub struct Bare {
    /// The drawing.
    pub svg: String,
    /// Where values are on it, from left to right.
    pub x: Axis,
    /// Where values are on it, from the bottom up.
    pub y: Axis,
}

/// Where the frame stands on the page.
struct Size {
    width: f64,
    font: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

const FULL: Size =
    Size { width: 760.0, font: 13.0, left: 84.0, right: 736.0, top: 48.0, bottom: 352.0 };
const BARE: Size =
    Size { width: 440.0, font: 14.0, left: 78.0, right: 418.0, top: 12.0, bottom: 262.0 };
/// From the frame down to the name of the horizontal axis, and to the first row of the legend.
const X_LABEL: f64 = 43.0;
const LEGEND: f64 = 66.0;
const LEGEND_ROW: f64 = 22.0;
const COLOURS: [&str; 7] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
const DASHES: [&str; 3] = ["", "7 4", "2 3"];
/// More points than pixels add nothing but bytes.
const MOST_POINTS: usize = 1500;

impl LineChart {
    /// The chart as one `<svg>` element. Text is escaped; a chart without a drawable point is an
    /// empty frame. All that is drawn of series i stands in elements with `data-series="i"`.
    pub fn to_svg(&self) -> String {
        let (body, height) = self.body();
        page(&FULL, height, &body)
    }

    /// The same without heading and legend.
    pub fn to_bare(&self) -> Bare {
        let (x, y) = self.axes(&BARE);
        let (body, height) = self.sheet(&BARE, BARE.bottom + X_LABEL, &self.drawing(&BARE, &x, &y));
        Bare { svg: page(&BARE, height, &body), x, y }
    }

    /// What stands on the page, and how much of its height that takes.
    fn body(&self) -> (String, f64) {
        let style = "font-size=\"16\" font-weight=\"600\" fill=\"#111\"";
        let title = escape(&self.title);
        let heading = format!("<text x=\"{}\" y=\"28\" {style}>{title}</text>\n", FULL.left);
        let legend = self.legend(&FULL);
        let (x, y) = self.axes(&FULL);
        let drawing = heading + &self.drawing(&FULL, &x, &y) + &legend.svg;
        self.sheet(&FULL, legend.bottom, &drawing)
    }

    /// A drawing on white ground, and its height.
    fn sheet(&self, size: &Size, bottom: f64, drawing: &str) -> (String, f64) {
        let (width, height, title) = (size.width, bottom + 10.0, escape(&self.title));
        let ground = format!("<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>");
        (format!("<title>{title}</title>\n{ground}\n{drawing}"), height)
    }

    fn drawing(&self, size: &Size, x: &Axis, y: &Axis) -> String {
        let series = || self.series.iter().enumerate();
        let bands: String = series().map(|(i, s)| group(i, &band::area(&s.band, x, y))).collect();
        let lines: String = series().map(|(i, s)| group(i, &line(i, s, x, y))).collect();
        self.frame(size, x, y) + &bands + &lines
    }

    fn axes(&self, size: &Size) -> (Axis, Axis) {
        let drawable = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
        let line = self.series.iter().flat_map(|series| series.points.iter().copied());
        let band = self.series.iter().flat_map(|series| &series.band);
        let band = band.flat_map(|&(x, low, high)| [(x, low), (x, high)]);
        let shown: Vec<(f64, f64)> = line
            .chain(band)
            .filter(|(x, y)| drawable(*x, self.x_log) && drawable(*y, self.y_log))
            .collect();
        let Size { left, right, top, bottom, .. } = *size;
        let x = Axis::around(shown.iter().map(|p| p.0), self.x_log, false, left, right);
        let y = Axis::around(shown.iter().map(|p| p.1), self.y_log, true, bottom, top);
        (x, y)
    }

    /// Grid, tick labels and axis names.
    fn frame(&self, size: &Size, x: &Axis, y: &Axis) -> String {
        let Size { left, right, top, bottom, .. } = *size;
        let mut grid = String::from("<g class=\"grid\" stroke=\"#e4e4e4\">\n");
        let mut labels = String::new();
        for (at, label) in x.ticks() {
            grid += &format!("<path d=\"M{at:.1} {top}V{bottom}\"/>\n");
            let base = bottom + 19.0;
            labels += &format!(
                "<text x=\"{at:.1}\" y=\"{base}\" text-anchor=\"middle\">{label}</text>\n"
            );
        }
        for (at, label) in y.ticks() {
            grid += &format!("<path d=\"M{left} {at:.1}H{right}\"/>\n");
            let (end, base) = (left - 8.0, at + 4.5);
            labels +=
                &format!("<text x=\"{end}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>\n");
        }
        let (centre, below) = ((left + right) / 2.0, bottom + X_LABEL);
        let middle = (top + bottom) / 2.0;
        format!(
            r##"{grid}</g>
<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#777"/>
{labels}<text x="{centre}" y="{below}" text-anchor="middle">{x_label}</text>
<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{y_label}</text>
"##,
            x_label = escape(&self.x_label),
            y_label = escape(&self.y_label),
        )
    }

    /// Names of the lines in rows below the chart; nothing for a single line without a name.
    fn legend(&self, size: &Size) -> Legend {
        let Size { left: start, right, bottom, .. } = *size;
        let mut svg = String::new();
        let (mut left, mut base) = (start, bottom + LEGEND);
        for (i, series) in self.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
            // Proportional type: 7.5 units a character is on the wide side at this size.
            let width = 40.0 + 7.5 * series.name.chars().count() as f64;
            if left > start && left + width > right {
                (left, base) = (start, base + LEGEND_ROW);
            }
            let (stroke, middle, text) = (stroke(i), base - 4.5, left + 32.0);
            let key = format!("<path d=\"M{left:.1} {middle}h26\" {stroke}/>\n");
            svg += &group(i, &key);
            let _ =
                writeln!(svg, "<text x=\"{text:.1}\" y=\"{base}\">{}</text>", escape(&series.name));
            left += width + 12.0;
        }
        let bottom = if svg.is_empty() { bottom + X_LABEL } else { base };
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
    page(&FULL, height, &content)
}

fn page(size: &Size, height: f64, content: &str) -> String {
    let Size { width, font, .. } = size;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="{font}" fill="#333">
{content}</svg>
"##
    )
}

struct Legend {
    svg: String,
    /// Where the last row stands.
    bottom: f64,
}

/// What is drawn of a series, under its colour; nothing if nothing is.
fn group(index: usize, drawing: &str) -> String {
    if drawing.is_empty() {
        return String::new();
    }
    format!("<g data-series=\"{index}\" color=\"{}\">\n{drawing}</g>\n", colour(index))
}

/// The colour of the series at `index`.
pub fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// The dashes of the series at `index`, as `stroke-dasharray` takes them; empty for a solid line.
pub fn dashes(index: usize) -> &'static str {
    DASHES[index / COLOURS.len() % DASHES.len()]
}

fn line(index: usize, series: &Series, x: &Axis, y: &Axis) -> String {
    let stroke = stroke(index);
    let (mut path, mut dots) = (String::new(), String::new());
    let mut run: Vec<(f64, f64)> = Vec::new();
    let mut finish = |run: &mut Vec<(f64, f64)>| {
        match run.as_slice() {
            [] => {}
            [(x, y)] => {
                dots += &format!(
                    "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"3\" fill=\"currentColor\"/>\n"
                );
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

/// At most about 1,500 of the points: of every bucket the lowest and the highest y, so
/// that spikes survive, besides the first and the last point. These are the points that are drawn.
pub fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
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

/// Attributes of a line inside its [`group`].
fn stroke(index: usize) -> String {
    let dash = match dashes(index) {
        "" => String::new(),
        dash => format!(" stroke-dasharray=\"{dash}\""),
    };
    format!("fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"{dash}")
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
            series: vec![Series { name: "one\u{0}".into(), points, ..Series::default() }],
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
        assert_eq!((count(&both, "linejoin"), count(&both, "<g"), count(&both, "</g>")), (2, 8, 8));
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
                    assert!((FULL.left..=FULL.right).contains(&pair[0]));
                    assert!((FULL.top..=FULL.bottom).contains(&pair[1]));
                }
                assert!(
                    numbers.chunks(2).collect::<Vec<_>>().windows(2).all(|w| w[1][1] < w[0][1])
                );
            }
        }
    }

    #[test]
    fn a_bare_chart_has_neither_heading_nor_legend_and_the_same_lines() {
        let full = chart(vec![(1.0, 1.0), (2.0, 4.0)]);
        let Bare { svg, x, y } = full.to_bare();
        assert!(svg.contains("<title>a &lt; b") && !svg.contains("font-weight"));
        assert_eq!(
            (count(&svg, "data-series=\"0\""), count(&full.to_svg(), "data-series")),
            (1, 2)
        );
        let drawn = format!("M{:.2} {:.2}L", x.place(1.0).unwrap(), y.place(1.0).unwrap());
        assert!(svg.contains(&drawn), "{drawn} is not in {svg}");
    }

    #[test]
    fn the_axes_make_room_for_bands_and_bands_lie_below_all_lines() {
        let mut chart = chart(vec![(1.0, 1.0), (2.0, 1.5)]);
        chart.series.push(Series {
            band: vec![(1.0, -9.0, 2.0), (2.0, 1.0, 7.0)],
            ..chart.series[0].clone()
        });
        let Bare { x, y, .. } = chart.to_bare();
        assert!((x.low, x.high) == (1.0, 2.0) && y.low < -9.0 && y.high > 7.0);
        let svg = chart.to_svg();
        assert!(svg.find("fill-opacity").unwrap() < svg.find("linejoin").unwrap());
        let band = svg.lines().position(|line| line.contains("fill-opacity")).unwrap();
        assert!(svg.lines().nth(band - 1).unwrap().contains("data-series=\"1\""));
        chart.y_log = true;
        assert!(chart.to_bare().y.low > -1.0, "what a logarithmic axis cannot show takes no room");
        assert_eq!(count(&chart.to_svg(), "fill-opacity"), 1);
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
