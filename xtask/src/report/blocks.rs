//! What a report is made of, whatever it is written as.

use super::table::Td;
use diff_core::plot::LineChart;

/// A part of the report under a heading of its own.
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: &'static str,
    /// What stands in it.
    pub(crate) blocks: Vec<Block>,
}

/// A piece of a section.
pub(crate) enum Block {
    /// A heading within the section, and what is said beside it.
    Heading(String, String),
    /// A paragraph.
    Text(String),
    /// A remark.
    Quiet(String),
    /// A table.
    Table(Table),
    /// A long table, folded away under its name where that can be done.
    Folded(&'static str, Table),
    /// Charts side by side.
    Charts(Vec<Chart>),
    /// A drawing that is one already: file name, what it shows, SVG.
    Drawing(String, String, String),
    /// A picture that is one already.
    Still(Still),
    /// Samples: samplers with a line about each, and their pictures.
    Grids(Vec<(String, String)>, Vec<Shot>),
    /// What went wrong: a name, and the words of the binary.
    Failures(Vec<(String, String)>),
}

/// A table.
#[derive(Default)]
pub(crate) struct Table {
    /// Its columns; all empty for a table without a head.
    pub(crate) heading: Vec<String>,
    /// Its rows, as long as the heading.
    pub(crate) rows: Vec<Vec<Td>>,
}

/// A picture with a name for its file and words for those who do not see it.
pub(crate) struct Still {
    /// File name.
    pub(crate) file: String,
    /// What it shows.
    pub(crate) alt: String,
    /// A PNG.
    pub(crate) png: Vec<u8>,
}

/// The first samples of a model by a sampler.
#[derive(Clone)]
pub(crate) struct Shot {
    /// The model's name.
    pub(crate) model: String,
    /// The training seed.
    pub(crate) seed: u64,
    /// The sampler's name.
    pub(crate) sampler: String,
    /// File name.
    pub(crate) file: String,
    /// A PNG; without bytes where there is none.
    pub(crate) png: Vec<u8>,
    /// What they took.
    pub(crate) note: String,
}

/// A drawing with a name for its file and words for those who do not see it.
#[derive(Clone)]
pub(crate) struct Chart {
    /// File name.
    pub(crate) file: String,
    /// What it shows.
    pub(crate) alt: String,
    /// The drawing.
    pub(crate) chart: LineChart,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new<'a>(heading: impl IntoIterator<Item = &'a str>) -> Self {
        Table { heading: heading.into_iter().map(String::from).collect(), rows: Vec::new() }
    }
}
