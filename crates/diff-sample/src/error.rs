use std::path::PathBuf;

/// What can go wrong while sampling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument out of range, or a file that could not be read or written.
    #[error("{0}")]
    Core(#[from] diff_core::Error),
    /// The network or its checkpoint.
    #[error("{0}")]
    Model(#[from] diff_models::Error),
    /// A data set that does not open.
    #[error("{0}")]
    Data(#[from] diff_train::Error),
    /// A tensor operation.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
    /// Pictures or latents that are not what is asked for.
    #[error("{0}")]
    Mismatch(String),
    /// A file that does not hold what it should.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        message: String,
    },
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
