use super::ImageSink;
use crate::Result;
use candle_core::Tensor;
use diff_models::pictures::{Grid, Pictures};
use std::path::{Path, PathBuf};

/// One PNG with the first samples in reading order.
pub struct GridSink {
    path: PathBuf,
    provenance: String,
    count: usize,
    columns: Option<usize>,
    shown: usize,
    grid: Grid,
}

impl GridSink {
    /// A grid at `path` of the first `count` samples; those after them leave no trace in it. It has as
    /// many columns as asked for, or is as near to a square as can be.
    pub fn new(path: &Path, count: usize, columns: Option<usize>, provenance: &str) -> Self {
        let (grid, provenance) = (Grid::new(count, [0; 3]), provenance.to_string());
        GridSink { path: path.to_path_buf(), provenance, count, columns, shown: 0, grid }
    }
}

impl ImageSink for GridSink {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let room = indices.len().min(self.count - self.shown);
        if room == 0 {
            return Ok(());
        }
        let pictures = Pictures::from_tensor(&x.narrow(0, 0, room)?)?;
        let [_, h, w, c] = pictures.shape;
        if self.shown == 0 {
            // A sheet for n x n pictures has n columns.
            let places = self.columns.map_or(self.count, |n| n * n);
            self.grid = Grid::new(places, [h, w, c]);
        }
        (0..room).for_each(|i| self.grid.push(pictures.picture(i)));
        self.shown += room;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.grid.write(&self.path, Some(&self.provenance))?)
    }
}
