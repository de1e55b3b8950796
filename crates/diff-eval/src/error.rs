use std::path::PathBuf;

/// What can go wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument out of range.
    #[error("{0}")]
    Core(#[from] diff_core::Error),
    /// A data set that does not open.
    #[error("{0}")]
    Data(#[from] diff_train::Error),
    /// A network that does not open, or that refuses its input.
    #[error("{0}")]
    Model(#[from] diff_models::Error),
    /// Samples that could not be made.
    #[error("{0}")]
    Sample(#[from] diff_sample::Error),
    /// A tensor operation.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
    /// A file that does not hold what it should.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// Two sets that cannot be compared.
    #[error("{0}")]
    Mismatch(String),
    /// Numbers that no statistic can be taken of.
    #[error("not finite: {0}")]
    NotFinite(String),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
