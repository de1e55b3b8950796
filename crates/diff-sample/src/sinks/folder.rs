use super::ImageSink;
use crate::Result;
use candle_core::Tensor;
use diff_core::save::{atomic_bytes, io_error, sync_folder};
use diff_models::pictures::{Pictures, encode};
use serde_json::json;
use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

/// A folder of PNGs named by global index (`000017.png`) and `manifest.json`, which lists what is
/// complete and how it was made. The manifest is made durable once a batch, the pictures are not
/// synced one by one.
pub struct FolderSink {
    folder: PathBuf,
    provenance: serde_json::Value,
    written: Vec<u64>,
}

impl FolderSink {
    /// Makes the folder.
    pub fn create(folder: &Path, provenance: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(io_error(folder, "create folder"))?;
        let provenance = serde_json::from_str(provenance).unwrap_or_else(|_| json!(provenance));
        Ok(FolderSink { folder: folder.to_path_buf(), provenance, written: Vec::new() })
    }

    fn write_manifest(&self) -> Result<()> {
        let manifest = json!({
            "format": "diff-pictures-1",
            "count": self.written.len(),
            "indices": self.written,
            "provenance": self.provenance,
        });
        let text = format!("{manifest:#}\n");
        Ok(atomic_bytes(&self.folder.join("manifest.json"), text.as_bytes())?)
    }
}

impl ImageSink for FolderSink {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let pictures = Pictures::from_tensor(x)?;
        let [_, h, w, c] = pictures.shape;
        for (i, index) in indices.iter().enumerate() {
            let path = self.folder.join(format!("{index:06}.png"));
            let file = File::create(&path).map_err(io_error(&path, "create"))?;
            encode(&mut BufWriter::new(file), &path, [h, w, c], pictures.picture(i), None)?;
        }
        self.written.extend_from_slice(indices);
        self.write_manifest()
    }

    fn finish(&mut self) -> Result<()> {
        self.write_manifest()?;
        Ok(sync_folder(&self.folder)?)
    }
}
