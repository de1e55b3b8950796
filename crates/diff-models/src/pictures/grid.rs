use super::encode;
use crate::Result;
use std::path::Path;

/// Pictures on one sheet in reading order. Small pictures are enlarged by a whole factor, pixel by
/// pixel.
#[derive(Clone, Debug)]
pub struct Grid {
    columns: usize,
    shape: [usize; 3],
    cells: Vec<Vec<u8>>,
}

/// Width below which a cell is enlarged.
const CELL: usize = 32;
/// Pixels around every cell.
const GAP: usize = 2;

impl Grid {
    /// An empty sheet for about `count` pictures of shape [h, w, c], as near to a square as their
    /// number allows.
    pub fn new(count: usize, shape: [usize; 3]) -> Self {
        Grid::with_columns((count.max(1) as f64).sqrt().ceil() as usize, shape)
    }

    /// An empty sheet for pictures of shape [h, w, c], `columns` (at least 1) to a row.
    pub fn with_columns(columns: usize, shape: [usize; 3]) -> Self {
        Grid { columns: columns.max(1), shape, cells: Vec::new() }
    }

    /// Puts a picture, row-major [h, w, c], in the next place.
    pub fn push(&mut self, picture: &[u8]) {
        self.cells.push(picture.to_vec());
    }

    /// True while there is no picture on it.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Shape and bytes of the sheet, row-major [h, w, c].
    pub fn draw(&self) -> ([usize; 3], Vec<u8>) {
        let [h, w, c] = self.shape;
        let zoom = CELL.div_ceil(w.max(1));
        let rows = self.cells.len().div_ceil(self.columns);
        let (cell_h, cell_w) = (h * zoom + GAP, w * zoom + GAP);
        let (height, width) = (rows * cell_h + GAP, self.columns * cell_w + GAP);
        let mut canvas = vec![0u8; height * width * c];
        for (i, cell) in self.cells.iter().enumerate() {
            let (top, left) = (i / self.columns * cell_h + GAP, i % self.columns * cell_w + GAP);
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

    /// Writes the sheet as a PNG with a text note inside.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn write(&self, path: &Path, note: Option<&str>) -> Result<()> {
        let (shape, canvas) = self.draw();
        diff_core::save::atomic(path, |file| encode(file, path, shape, &canvas, note))
    }
}
