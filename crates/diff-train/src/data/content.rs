use super::{
    Dataset,
    dataset::{NO_LABEL, Storage},
    pass::{Kept, Outcome, Pass},
};
use crate::Result;
use sha2::{Digest, Sha256};

/// What a pass collects besides the pixels, and the hash of all of it.
#[derive(Default)]
pub(super) struct Content {
    pub(super) labels: Vec<u32>,
    pub(super) indices: Vec<u64>,
    hasher: Option<Sha256>,
}

impl Content {
    /// Takes the next picture.
    pub(super) fn add(&mut self, kept: &Kept) {
        self.hasher.get_or_insert_with(|| begin(kept.shape)).update(&kept.bytes);
        self.labels.push(kept.label.unwrap_or(NO_LABEL));
        self.indices.push(kept.index);
    }

    /// The hash over shape, pixels, labels and indices.
    pub(super) fn finish(&mut self) -> String {
        end(self.hasher.take().unwrap_or_default(), &self.labels, &self.indices)
    }
}

/// The hash that [`Content`] found, over what a data set holds now.
pub(super) fn sha256(data: &Dataset) -> String {
    let hasher = begin(data.shape()).chain_update(data.pixels());
    end(hasher, &data.labels, &data.indices)
}

fn begin(shape: [usize; 3]) -> Sha256 {
    let hasher = Sha256::new().chain_update(b"diff-data-1");
    shape.iter().fold(hasher, |hasher, n| hasher.chain_update((*n as u64).to_le_bytes()))
}

fn end(mut hasher: Sha256, labels: &[u32], indices: &[u64]) -> String {
    labels.iter().for_each(|label| hasher.update(label.to_le_bytes()));
    indices.iter().for_each(|index| hasher.update(index.to_le_bytes()));
    hex(hasher)
}

/// A hash in lower-case hexadecimal.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A data set in memory.
pub(super) fn in_memory(pass: &Pass) -> Result<Dataset> {
    let (mut content, mut pixels) = (Content::default(), Vec::new());
    let Outcome { shape, classes, report } = pass.run(&mut |kept| {
        content.add(&kept);
        pixels.extend_from_slice(&kept.bytes);
        Ok(())
    })?;
    Ok(Dataset {
        name: pass.name().to_string(),
        shape,
        classes,
        pixels: Storage::Memory(pixels.into()),
        sha256: content.finish(),
        labels: content.labels.into(),
        indices: content.indices.into(),
        report,
        folder: None,
    })
}
