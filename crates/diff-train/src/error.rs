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
        "step {step}: {what} is not finite; {}largest parameter {largest}; the last saved checkpoint \
         is untouched",
        time_steps(times)
    )]
    NotFinite {
        /// The step, counted from 1.
        step: usize,
        /// What was not finite.
        what: String,
        /// How many of the batch's paper times lie where; empty where there are no times.
        times: String,
        /// The parameter with the largest absolute value, before the step.
        largest: String,
    },
    /// A checkpoint that could not be saved.
    #[error("{}: the checkpoint of {bytes} bytes could not be saved; what was saved before is untouched", folder.display())]
    Save {
        /// Where it was to be.
        folder: PathBuf,
        /// What it needs.
        bytes: u64,
        /// Why not.
        source: Box<Error>,
    },
    /// A run folder that already holds a run.
    #[error("{}: already holds {what}; go on with it (--resume), choose another `out`, or remove it", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// A trained model, or a run that is not finished.
        what: &'static str,
    },
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

fn time_steps(times: &str) -> String {
    if times.is_empty() { String::new() } else { format!("time steps {times}; ") }
}
