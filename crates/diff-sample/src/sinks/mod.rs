//! Where pictures go: one file a form.

mod folder;
mod grid;
mod kept;
mod npz;

pub use folder::FolderSink;
pub use grid::GridSink;
pub use kept::Kept;
pub use npz::{NpzArray, NpzSink, npz_text, write_npz};

use crate::Result;
use candle_core::Tensor;
use diff_models::pictures::Transform;
use std::path::Path;

/// Receives samples in order, batch by batch.
pub trait ImageSink {
    /// Takes the samples with these global indices, `[B, C, H, W]` in [-1, 1].
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()>;

    /// Makes everything durable; nothing counts as written before.
    fn finish(&mut self) -> Result<()>;
}

/// What is to be written besides the pictures, and how much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// Samples that will come.
    pub count: usize,
    /// The first so many are shown on a grid; all of them where there is no number.
    pub grid: Option<usize>,
    /// Pictures in a row of a grid; about as many as rows where there is no number.
    pub columns: Option<usize>,
    /// Text that is stored with the pictures.
    pub provenance: &'a str,
    /// Adds unquantised values (`.npz` only).
    pub raw: bool,
}

/// The sink that a path asks for: `.png` a grid, `.npz` arrays, anything else a folder of
/// pictures.
///
/// # Errors
/// When the folder cannot be made, or raw values are asked of a form that cannot hold them.
pub fn open(path: &Path, form: Form) -> Result<Box<dyn ImageSink>> {
    let Form { count, provenance, raw, .. } = form;
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let refuse_raw = || -> Result<()> {
        match raw {
            true => Err(diff_core::Error::argument(
                "f32",
                path.display(),
                "an output ending in .npz, the only form that holds raw values",
            )
            .into()),
            false => Ok(()),
        }
    };
    Ok(match extension.as_deref() {
        Some("npz") => Box::new(NpzSink::create(path, count, provenance, raw)?),
        Some("png") => {
            refuse_raw()?;
            let shown = form.grid.unwrap_or(count).min(count);
            Box::new(GridSink::new(path, shown, form.columns, provenance))
        }
        _ => {
            refuse_raw()?;
            Box::new(FolderSink::create(path, provenance)?)
        }
    })
}

/// Several sinks as one.
#[derive(Default)]
pub struct Tee(pub Vec<Box<dyn ImageSink>>);

impl ImageSink for Tee {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.write(indices, x))
    }

    fn finish(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.finish())
    }
}

/// Hands samples on as pictures in [-1, 1], whatever the network sees of them.
pub struct Untransformed<S> {
    /// What the network sees.
    pub transform: Transform,
    /// Where they go.
    pub sink: S,
}

impl<S: ImageSink> ImageSink for Untransformed<S> {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        self.sink.write(indices, &self.transform.inverse(x)?)
    }

    fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }
}
