use crate::{Result, data::content::hex};
use diff_core::save::io_error;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Gathers what tells a source from a changed one, in a few bytes.
#[derive(Default)]
pub(super) struct Stamp(Sha256);

impl Stamp {
    /// An option or a name.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// A file: its place, size and modification time. A file that is gone counts as such.
    ///
    /// # Errors
    /// When its place cannot be examined.
    pub(super) fn file(self, path: &Path) -> Result<Self> {
        let place = std::path::absolute(path).map_err(io_error(path, "examine"))?;
        let state = match fs::metadata(path) {
            Err(_) => "gone".to_string(),
            Ok(found) => {
                let modified =
                    found.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                format!("{} {:?}", found.len(), modified)
            }
        };
        Ok(self.text(&place.to_string_lossy()).text(&state))
    }

    /// Several files.
    ///
    /// # Errors
    /// As [`Stamp::file`].
    pub(super) fn files<'a>(self, paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self> {
        paths.into_iter().try_fold(self, |stamp, path| stamp.file(path))
    }

    pub(super) fn finish(self) -> String {
        hex(self.0)
    }
}
