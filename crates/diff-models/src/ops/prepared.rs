//! What is computed from weights once and used in every forward pass.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// Weights of a frozen network in the form in which an operation reads them, made at first use.
/// Whoever keeps one vouches that the weights do not change.
#[derive(Default)]
pub struct Prepared {
    value: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Prepared {
    /// Nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn with<P: Any + Send + Sync, R>(
        &self,
        make: impl FnOnce() -> P,
        work: impl FnOnce(&P) -> R,
    ) -> candle_core::Result<R> {
        let value = match self.value.get() {
            Some(value) => value,
            None => {
                // Made before it is waited for: a thread that helps others meanwhile may come back
                // to these very weights.
                let made = Box::new(make());
                self.value.get_or_init(|| made)
            }
        };
        match value.downcast_ref() {
            Some(value) => Ok(work(value)),
            None => candle_core::bail!("weights prepared for one number type, used with another"),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Prepared").field("made", &self.value.get().is_some()).finish()
    }
}
