use super::{Augment, Dataset};
use crate::Result;
use candle_core::{Device, Tensor};
use diff_core::rng::{Address, Purpose};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

/// Some pictures, ready for a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, C, H, W]` f32, in [-1, 1] unless the data are transformed otherwise.
    pub x0: Tensor,
    /// Labels, where the network is class-conditional.
    pub labels: Option<Vec<u32>>,
    /// Indices of the pictures at their source.
    pub indices: Vec<u64>,
}

/// Hands out batches in a shuffled order that is a function of (seed, position): the order of
/// every epoch is its own permutation, batches run over the ends of epochs, nothing is dropped.
///
/// A thread makes the batches of the next steps while the caller works on this one; it ends with
/// the loader.
pub struct Loader {
    recipe: Recipe,
    ahead: Option<Ahead>,
}

/// What a batch is made from.
#[derive(Clone)]
struct Recipe {
    data: Dataset,
    augment: Augment,
    seed: u64,
    batch: usize,
    labelled: bool,
}

/// A batch before it is on a device.
struct Rows {
    values: Vec<f32>,
    labels: Option<Vec<u32>>,
    indices: Vec<u64>,
}

/// The thread that makes batches, and the step it delivers next.
struct Ahead {
    next: usize,
    batches: Option<Receiver<Rows>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Finished batches that wait for the caller.
const DEPTH: usize = 2;

impl Loader {
    /// Batches of `batch` pictures, with labels if `labelled`.
    ///
    /// # Errors
    /// When the data set is empty or lacks labels that are asked for, or the batch is 0.
    pub fn new(
        data: Dataset,
        augment: Augment,
        seed: u64,
        batch: usize,
        labelled: bool,
    ) -> Result<Self> {
        if data.is_empty() {
            return Err(Dataset::error(data.name(), "no pictures"));
        }
        if batch == 0 {
            return Err(diff_core::Error::argument("train.batch", 0, "at least 1").into());
        }
        if let Some(i) = data.unlabelled().filter(|_| labelled) {
            let message = format!(
                "picture {} has no label, which a class-conditional network needs",
                data.index(i)
            );
            return Err(Dataset::error(data.name(), message));
        }
        let recipe = Recipe { data, augment, seed, batch, labelled };
        Ok(Loader { recipe, ahead: None })
    }

    /// The batch of step `step`, counted from 0. Steps that follow each other are prepared ahead.
    ///
    /// # Errors
    /// When the batch cannot be made or moved to the device.
    pub fn batch(&mut self, step: usize, device: &Device) -> Result<Batch> {
        if self.ahead.as_ref().is_none_or(|ahead| ahead.next != step) {
            // The old thread ends before the new one starts.
            self.ahead = None;
            self.ahead = Some(Ahead::start(self.recipe.clone(), step)?);
        }
        let rows = match self.ahead.as_mut().map(Ahead::take) {
            Some(Ok(rows)) => rows,
            Some(Err(reason)) => {
                self.ahead = None;
                return Err(Dataset::error(self.recipe.data.name(), reason));
            }
            None => return Err(Dataset::error(self.recipe.data.name(), "no loader thread")),
        };
        let [c, h, w] = self.recipe.data.shape();
        let Rows { values, labels, indices } = rows;
        let x0 = Tensor::from_vec(values, (indices.len(), c, h, w), device)?;
        Ok(Batch { x0, labels, indices })
    }
}

impl Ahead {
    fn start(recipe: Recipe, step: usize) -> Result<Self> {
        let (sender, batches) = sync_channel(DEPTH);
        let stop = Arc::new(AtomicBool::new(false));
        let (name, flag) = (recipe.data.name().to_string(), stop.clone());
        let thread = thread::Builder::new()
            .name("loader".into())
            .spawn(move || recipe.deliver(step, &sender, &flag))
            .map_err(|e| Dataset::error(&name, format!("cannot start a thread: {e}")))?;
        Ok(Ahead { next: step, batches: Some(batches), stop, thread: Some(thread) })
    }

    fn take(&mut self) -> Result<Rows, String> {
        if let Some(rows) = self.batches.as_ref().and_then(|batches| batches.recv().ok()) {
            self.next += 1;
            return Ok(rows);
        }
        // The thread only goes first when it fails.
        let reason = match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)),
            _ => None,
        };
        Err(format!("the loader thread failed: {}", reason.as_deref().unwrap_or("no reason given")))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without a receiver, a thread that waits to deliver wakes up.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been reported where the batch was missed.
            let _ = thread.join();
        }
    }
}

impl Recipe {
    /// Makes batches from `step` on until nobody takes them.
    fn deliver(&self, step: usize, batches: &SyncSender<Rows>, stop: &AtomicBool) {
        let mut order = Order { seed: self.seed, pictures: self.data.len(), epoch: None };
        for step in step.. {
            let Some(rows) = self.rows(step, &mut order, stop) else { return };
            if batches.send(rows).is_err() {
                return;
            }
        }
    }

    /// The rows of a step; none when they are no longer wanted.
    fn rows(&self, step: usize, order: &mut Order, stop: &AtomicBool) -> Option<Rows> {
        let [c, h, w] = self.data.shape();
        let first = step as u64 * self.batch as u64;
        let mut values = Vec::with_capacity(self.batch * c * h * w);
        let (mut labels, mut indices) = (Vec::new(), Vec::with_capacity(self.batch));
        for position in first..first + self.batch as u64 {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let i = order.at(position);
            self.augment.draw(self.data.picture(i), w, self.seed, position, &mut values);
            labels.extend(self.data.label(i));
            indices.push(self.data.index(i));
        }
        Some(Rows { values, labels: self.labelled.then_some(labels), indices })
    }
}

/// The order of the pictures; remembers the permutation of one epoch.
struct Order {
    seed: u64,
    pictures: usize,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// The picture at a position of the run.
    fn at(&mut self, position: u64) -> usize {
        let n = self.pictures as u64;
        let (epoch, place) = (position / n, (position % n) as usize);
        match &self.epoch {
            Some((known, order)) if *known == epoch => order[place],
            _ => {
                let address = Address::new(self.seed, Purpose::DataOrder).index(epoch);
                let order = address.permutation(self.pictures);
                let picture = order[place];
                self.epoch = Some((epoch, order));
                picture
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataConfig, dataset::Storage, open};
    use std::time::{Duration, Instant};

    fn digits() -> Dataset {
        open(&DataConfig::default()).unwrap()
    }

    fn loader(augment: Augment, seed: u64, batch: usize, labelled: bool) -> Loader {
        Loader::new(digits(), augment, seed, batch, labelled).unwrap()
    }

    fn all() -> Augment {
        Augment { flip: true, dequantise: true, gaussian: true, ..Augment::default() }
    }

    fn values(batch: &Batch) -> Vec<f32> {
        batch.x0.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn an_epoch_visits_every_picture_once_and_runs_on_without_a_gap() {
        let mut loader = loader(Augment::default(), 5, 100, true);
        let mut seen: Vec<u64> =
            (0..29).flat_map(|s| loader.batch(s, &Device::Cpu).unwrap().indices).collect();
        let second = seen.split_off(1437);
        assert_ne!(seen[..100], second[..100]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1437);
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let mut walked = loader(all(), 5, 32, false);
        for step in 0..60 {
            walked.batch(step, &Device::Cpu).unwrap();
        }
        let batch = |loader: &mut Loader, step| loader.batch(step, &Device::Cpu).unwrap();
        let (a, b) = (batch(&mut walked, 60), batch(&mut loader(all(), 5, 32, false), 60));
        assert_eq!((&a.indices, values(&a)), (&b.indices, values(&b)));
        // Back, and forth by more than one.
        let (c, d) = (batch(&mut walked, 3), batch(&mut walked, 60));
        assert_eq!(values(&d), values(&a));
        assert_ne!(values(&c), values(&a));
        let other = batch(&mut loader(all(), 6, 32, false), 60);
        assert_ne!(values(&other), values(&a));
    }

    #[test]
    fn draws_of_a_step_do_not_depend_on_how_it_is_cut_into_batches() {
        let mut whole = loader(all(), 1, 64, false);
        let mut halves = loader(all(), 1, 32, false);
        let whole = values(&whole.batch(1, &Device::Cpu).unwrap());
        let (a, b) = (halves.batch(2, &Device::Cpu).unwrap(), halves.batch(3, &Device::Cpu));
        assert_eq!([values(&a), values(&b.unwrap())].concat(), whole);
    }

    #[test]
    fn the_order_and_the_pixels_are_those_of_earlier_versions() {
        let mut loader = loader(Augment::default(), 0, 8, true);
        let batch = loader.batch(0, &Device::Cpu).unwrap();
        let data = digits();
        let order = Address::new(0, Purpose::DataOrder).permutation(data.len());
        let expected: Vec<u64> = order[..8].iter().map(|i| data.index(*i)).collect();
        assert_eq!(batch.indices, expected);
        let pixels = order[..8].iter().flat_map(|i| data.picture(*i));
        let pixels: Vec<f32> = pixels.map(|v| *v as f32 / 127.5 - 1.0).collect();
        assert_eq!(values(&batch), pixels);
        let labels: Vec<u32> = order[..8].iter().map(|i| data.label(*i).unwrap()).collect();
        assert_eq!(batch.labels.unwrap(), labels);
    }

    #[test]
    fn labels_that_do_not_exist_are_refused() {
        let data = Dataset { labels: vec![u32::MAX; 1437].into(), ..digits() };
        let make = |labelled| Loader::new(data.clone(), Augment::default(), 0, 4, labelled);
        let error = make(true).err().unwrap().to_string();
        assert!(error.contains("digits") && error.contains("no label"), "{error}");
        assert_eq!(make(false).unwrap().batch(0, &Device::Cpu).unwrap().labels, None);
    }

    #[test]
    fn dropping_a_loader_in_the_middle_ends_its_thread() {
        let data = digits();
        let Storage::Memory(pixels) = data.pixels.clone() else { panic!("digits are in memory") };
        // The test's handle, `data`'s, and one more for every thread that lives.
        let mut loader = Loader::new(data, Augment::default(), 0, 4, false).unwrap();
        assert_eq!(Arc::strong_count(&pixels), 2);
        loader.batch(0, &Device::Cpu).unwrap();
        assert_eq!(Arc::strong_count(&pixels), 3);
        let started = Instant::now();
        drop(loader);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(Arc::strong_count(&pixels), 1);
    }

    #[test]
    fn a_jump_leaves_one_thread() {
        let data = digits();
        let Storage::Memory(pixels) = data.pixels.clone() else { panic!("digits are in memory") };
        let mut loader = Loader::new(data, Augment::default(), 0, 4, false).unwrap();
        for step in [0, 9, 4, 5, 0] {
            loader.batch(step, &Device::Cpu).unwrap();
            assert_eq!(Arc::strong_count(&pixels), 3);
        }
    }

    #[test]
    fn a_panic_in_the_thread_arrives_as_an_error_and_the_next_call_starts_afresh() {
        // More indices than pixels: the thread runs into the end of the pictures.
        let data = Dataset { pixels: Storage::Memory(vec![0; 64].into()), ..digits() };
        let mut loader = Loader::new(data, Augment::default(), 0, 100, false).unwrap();
        for _ in 0..2 {
            let error = loader.batch(0, &Device::Cpu).unwrap_err().to_string();
            assert!(error.contains("digits") && error.contains("range"), "{error}");
        }
    }
}
