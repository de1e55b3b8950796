use super::ImageSink;
use crate::Result;
use candle_core::Tensor;

/// A sink that keeps what it is given, as it is.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    indices: Vec<u64>,
    parts: Vec<Tensor>,
}

impl Kept {
    /// Everything in the order in which it came, `[N, C, H, W]`, with its indices.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn take(self) -> Result<(Vec<u64>, Tensor)> {
        Ok((self.indices, Tensor::cat(&self.parts, 0)?))
    }
}

impl ImageSink for Kept {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        self.indices.extend_from_slice(indices);
        self.parts.push(x.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
