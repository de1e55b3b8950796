//! Charts of a page: a drawing that stands for itself, and beside it what the script needs to
//! answer a pointer or an arrow key.

use super::text::escape;
use diff_core::plot::{self, Axis, LineChart, Series};
use serde_json::{Value, json};

/// The chart as a figure. Without the script it is a plain drawing with a legend.
pub(crate) fn figure(chart: &LineChart) -> String {
    let bare = chart.to_bare();
    let series: Vec<Value> =
        chart.series.iter().map(|series| data(series, &bare.x, &bare.y)).collect();
    let data = json!({
        "x": axis(&chart.x_label, &bare.x),
        "y": axis(&chart.y_label, &bare.y),
        "series": series,
    });
    // Inside a script element no `<` may be read as markup.
    let data = data.to_string().replace('<', "\\u003c");
    format!(
        "<figure class=\"plot\">\n<figcaption>{}</figcaption>\n\
         <div class=\"drawing\">\n{}</div>\n{}\
         <script type=\"application/json\">{data}</script>\n</figure>\n",
        escape(&chart.title),
        bare.svg,
        legend(&chart.series)
    )
}

fn axis(label: &str, axis: &Axis) -> Value {
    let Axis { low, high, log, start, end } = axis;
    json!({ "label": label, "low": low, "high": high, "log": log, "start": start, "end": end })
}

/// The points of a series that are drawn.
fn data(series: &Series, x: &Axis, y: &Axis) -> Value {
    let there = |(px, py): &(f64, f64)| x.place(*px).is_some() && y.place(*py).is_some();
    let points = plot::thinned(&series.points).into_iter().filter(there);
    let points: Vec<[f64; 2]> = points.map(|(px, py)| [short(px), short(py)]).collect();
    let shown = |(at, low, high): &&(f64, f64, f64)| {
        low.is_finite() && high.is_finite() && points.iter().any(|point| point[0] == short(*at))
    };
    let band: Vec<[f64; 3]> = series
        .band
        .iter()
        .filter(shown)
        .map(|(at, low, high)| [short(*at), short(*low), short(*high)])
        .collect();
    json!({ "name": series.name, "points": points, "band": band })
}

/// Six significant digits, which is more than is shown; whole numbers as they are.
fn short(value: f64) -> f64 {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return value;
    }
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The names of the series, each beside a piece of its line.
fn legend(series: &[Series]) -> String {
    let named = series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
    let keys: String = named
        .map(|(i, series)| {
            let (colour, dashes) = (plot::colour(i), plot::dashes(i));
            format!(
                "<span class=\"key\" data-key=\"{i}\">\
                 <svg viewBox=\"0 0 26 10\" width=\"26\" height=\"10\" color=\"{colour}\" \
                 aria-hidden=\"true\"><path d=\"M0 5h26\" stroke=\"currentColor\" \
                 stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/></svg> {}</span>\n",
                escape(&series.name)
            )
        })
        .collect();
    if keys.is_empty() { keys } else { format!("<div class=\"legend\">\n{keys}</div>\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> LineChart {
        LineChart {
            title: "a < b".into(),
            x_label: "step".into(),
            y_log: true,
            series: vec![
                Series {
                    name: "</script><b>".into(),
                    points: vec![(1.0, 0.123456789), (2.0, -1.0), (3.0, f64::NAN), (4.0, 2.0)],
                    band: vec![(1.0, 0.1, 0.2), (2.0, 1.0, 2.0), (4.0, f64::NAN, 3.0)],
                },
                Series { points: vec![(1234567.0, 1e-12)], ..Series::default() },
            ],
            ..LineChart::default()
        }
    }

    fn embedded(html: &str) -> Value {
        let (_, rest) = html.split_once("<script type=\"application/json\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn the_data_are_the_drawn_points_and_cannot_end_the_script() {
        let html = figure(&chart());
        assert_eq!(html.matches("</script>").count(), 1);
        let data = embedded(&html);
        assert_eq!(data["series"][0]["name"], "</script><b>");
        assert_eq!(data["series"][0]["points"], json!([[1.0, 0.123457], [4.0, 2.0]]));
        assert_eq!(data["series"][0]["band"], json!([[1.0, 0.1, 0.2]]));
        assert_eq!(data["series"][1]["points"], json!([[1234567.0, 1e-12]]));
    }

    #[test]
    fn the_axes_are_those_of_the_drawing() {
        let data = embedded(&figure(&chart()));
        let y = chart().to_bare().y;
        assert_eq!(data["y"]["low"].as_f64(), Some(y.low));
        assert_eq!((&data["y"]["log"], &data["x"]["log"]), (&json!(true), &json!(false)));
        assert_eq!(data["x"]["label"], "step");
    }

    #[test]
    fn the_legend_names_the_series_that_have_a_name() {
        let html = figure(&chart());
        assert_eq!(html.matches("data-key=").count(), 1);
        assert!(html.contains("&lt;/script&gt;&lt;b&gt;</span>"));
        assert!(html.contains("<figcaption>a &lt; b</figcaption>"));
        assert!(!figure(&LineChart::default()).contains("legend"));
    }
}
