use std::path::PathBuf;

/// What can go wrong while training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration or argument out of range, or a file that could not be read or written.
    #[error("{0}")]
    Core(#[from] diff_core::Error),
    /// The network or its checkpoint.
    #[error("{0}")]
    Model(#[from] diff_models::Error),
    /// A tensor operation.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
    /// A data set that cannot be read.
    #[error("data {source_name}: {message}")]
    Data {
        /// The source, as configured.
        source_name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A loss or gradient that is not a number.
    #[error(
        "step {step}: {what} is not finite (time steps {times:?}); the last complete log line precedes it"
    )]
    NotFinite {
        /// The step, counted from 1.
        step: usize,
        /// What was not finite.
        what: String,
        /// The batch's paper times.
        times: Vec<i64>,
    },
    /// A run folder that already holds a result.
    #[error("{}: already holds a trained model; choose another `out` or remove it", .0.display())]
    Occupied(PathBuf),
    /// An input file that lacks something or holds it in another shape.
    #[error("{}: {message}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        message: String,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
