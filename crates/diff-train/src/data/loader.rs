use super::Dataset;
use crate::Result;
use candle_core::{Device, Tensor};
use diff_core::rng::{Address, Purpose};

/// Some pictures, ready for a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, C, H, W]` f32 in [-1, 1].
    pub x0: Tensor,
    /// Labels, where the network is class-conditional.
    pub labels: Option<Vec<u32>>,
    /// Indices of the pictures at their source.
    pub indices: Vec<u64>,
}

/// Hands out batches in a shuffled order that is a function of (seed, position): the order of
/// every epoch is its own permutation, batches run over the ends of epochs, nothing is dropped.
pub struct Loader {
    data: Dataset,
    seed: u64,
    batch: usize,
    labelled: bool,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Loader {
    /// Batches of `batch` pictures, with labels if `labelled`.
    ///
    /// # Errors
    /// When the data set is empty or the batch is 0.
    pub fn new(data: Dataset, seed: u64, batch: usize, labelled: bool) -> Result<Self> {
        if data.is_empty() {
            return Err(Dataset::error(data.name(), "no pictures"));
        }
        if batch == 0 {
            return Err(diff_core::Error::argument("train.batch", 0, "at least 1").into());
        }
        Ok(Loader { data, seed, batch, labelled, epoch: None })
    }

    /// The batch of step `step`, counted from 0.
    pub fn batch(&mut self, step: usize, device: &Device) -> Result<Batch> {
        let n = self.data.len() as u64;
        let first = step as u64 * self.batch as u64;
        let rows: Vec<usize> = (first..first + self.batch as u64)
            .map(|position| self.order(position / n)[(position % n) as usize])
            .collect();
        let values: Vec<f32> = rows
            .iter()
            .flat_map(|i| self.data.picture(*i))
            .map(|v| *v as f32 / 127.5 - 1.0)
            .collect();
        let [c, h, w] = self.data.shape();
        Ok(Batch {
            x0: Tensor::from_vec(values, (rows.len(), c, h, w), device)?,
            labels: self.labelled.then(|| rows.iter().map(|i| self.data.label(*i)).collect()),
            indices: rows.iter().map(|i| self.data.index(*i)).collect(),
        })
    }

    fn order(&mut self, epoch: u64) -> &[usize] {
        let known = matches!(&self.epoch, Some((e, _)) if *e == epoch);
        if !known {
            let address = Address::new(self.seed, Purpose::DataOrder).index(epoch);
            self.epoch = Some((epoch, address.permutation(self.data.len())));
        }
        self.epoch.as_ref().map_or(&[], |(_, order)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataConfig, open};

    #[test]
    fn an_epoch_visits_every_picture_once_and_runs_on_without_a_gap() {
        let data = open(&DataConfig::default()).unwrap();
        let mut loader = Loader::new(data, 5, 100, true).unwrap();
        let mut seen: Vec<u64> =
            (0..29).flat_map(|s| loader.batch(s, &Device::Cpu).unwrap().indices).collect();
        let second = seen.split_off(1437);
        assert_ne!(seen[..100], second[..100]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1437);
    }

    #[test]
    fn a_batch_depends_on_its_step_alone() {
        let fresh = || Loader::new(open(&DataConfig::default()).unwrap(), 5, 32, false).unwrap();
        let mut walked = fresh();
        for step in 0..60 {
            walked.batch(step, &Device::Cpu).unwrap();
        }
        let (a, b) = (walked.batch(60, &Device::Cpu), fresh().batch(60, &Device::Cpu));
        assert_eq!(a.unwrap().indices, b.unwrap().indices);
    }

    #[test]
    fn pixels_land_in_the_unit_interval_and_labels_follow() {
        let data = open(&DataConfig::default()).unwrap();
        let first = data.index(0);
        let mut loader = Loader::new(data, 0, 1437, true).unwrap();
        let batch = loader.batch(0, &Device::Cpu).unwrap();
        let flat = batch.x0.flatten_all().unwrap();
        assert_eq!(flat.min(0).unwrap().to_scalar::<f32>().unwrap(), -1.0);
        assert_eq!(flat.max(0).unwrap().to_scalar::<f32>().unwrap(), 1.0);
        assert_eq!(batch.labels.unwrap().len(), 1437);
        assert!(batch.indices.contains(&first));
    }
}
