//! Line charts as SVG text.

/// A named line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points (x, y), joined in this order; a non-finite point breaks the line.
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
    /// Logarithmic horizontal axis; points at or below 0 are skipped.
    pub x_log: bool,
    /// Logarithmic vertical axis; points at or below 0 are skipped.
    pub y_log: bool,
    /// The lines.
    pub series: Vec<Series>,
}
