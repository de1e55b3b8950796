use super::{ImageSink, png::encode};
use crate::{Result, image::Pictures};
use candle_core::Tensor;
use std::path::{Path, PathBuf};

/// One PNG with all samples in reading order, as near to a square as their number allows. Small
/// pictures are enlarged by a whole factor, pixel by pixel.
pub struct GridSink {
    path: PathBuf,
    provenance: String,
    count: usize,
    cells: Vec<Vec<u8>>,
    shape: [usize; 3],
}

/// Width below which a cell is enlarged.
const CELL: usize = 32;
/// Pixels around every cell.
const GAP: usize = 2;

impl GridSink {
    /// A grid of `count` samples at `path`.
    pub fn new(path: &Path, count: usize, provenance: &str) -> Self {
        GridSink {
            path: path.to_path_buf(),
            provenance: provenance.to_string(),
            count,
            cells: Vec::new(),
            shape: [0; 3],
        }
    }

    fn draw(&self) -> ([usize; 3], Vec<u8>) {
        let [h, w, c] = self.shape;
        let zoom = CELL.div_ceil(w.max(1));
        let columns = (self.count.max(1) as f64).sqrt().ceil() as usize;
        let rows = self.cells.len().div_ceil(columns);
        let (cell_h, cell_w) = (h * zoom + GAP, w * zoom + GAP);
        let (height, width) = (rows * cell_h + GAP, columns * cell_w + GAP);
        let mut canvas = vec![0u8; height * width * c];
        for (i, cell) in self.cells.iter().enumerate() {
            let (top, left) = (i / columns * cell_h + GAP, i % columns * cell_w + GAP);
            for y in 0..h * zoom {
                for x in 0..w * zoom {
                    let from = (y / zoom * w + x / zoom) * c;
                    let to = ((top + y) * width + left + x) * c;
                    canvas[to..to + c].copy_from_slice(&cell[from..from + c]);
                }
            }
        }
        ([height, width, c], canvas)
    }
}

impl ImageSink for GridSink {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let pictures = Pictures::from_tensor(x)?;
        let [_, h, w, c] = pictures.shape;
        self.shape = [h, w, c];
        self.cells.extend((0..indices.len()).map(|i| pictures.picture(i).to_vec()));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let (shape, canvas) = self.draw();
        diff_core::save::atomic(&self.path, |file| {
            encode(file, &self.path, shape, &canvas, Some(&self.provenance))
        })
    }
}
