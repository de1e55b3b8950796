use super::ImageSink;
use crate::Result;
use candle_core::Tensor;
use diff_models::pictures::{Grid, Pictures};
use std::path::{Path, PathBuf};

/// One PNG with all samples in reading order.
pub struct GridSink {
    path: PathBuf,
    provenance: String,
    count: usize,
    grid: Grid,
}

impl GridSink {
    /// A grid of `count` samples at `path`.
    pub fn new(path: &Path, count: usize, provenance: &str) -> Self {
        let grid = Grid::new(count, [0; 3]);
        GridSink { path: path.to_path_buf(), provenance: provenance.to_string(), count, grid }
    }
}

impl ImageSink for GridSink {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let pictures = Pictures::from_tensor(x)?;
        let [_, h, w, c] = pictures.shape;
        if self.grid.is_empty() {
            self.grid = Grid::new(self.count, [h, w, c]);
        }
        (0..indices.len()).for_each(|i| self.grid.push(pictures.picture(i)));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.grid.write(&self.path, Some(&self.provenance))?)
    }
}
