/// What can go wrong while sampling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument out of range, or a file that could not be read or written.
    #[error("{0}")]
    Core(#[from] diff_core::Error),
    /// The network or its checkpoint.
    #[error("{0}")]
    Model(#[from] diff_models::Error),
    /// A tensor operation.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
    /// The network produced something that is not a number.
    #[error("sample {index}: the image is not finite after {steps} steps ({count} bad values)")]
    NotFinite {
        /// Global index of the first such sample.
        index: u64,
        /// Steps taken.
        steps: usize,
        /// Values at fault in that sample.
        count: usize,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
