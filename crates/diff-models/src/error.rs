use std::{fmt::Display, path::PathBuf};

/// What can go wrong in this crate, always naming the value at fault and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tensors, times or conditions that do not fit together or do not fit the network.
    #[error("{0}")]
    Input(String),
    /// A configuration value that is impossible or not supported.
    #[error("{name} = {value}: supported: {supported}")]
    Unsupported {
        /// The option, by the name it has in its file.
        name: String,
        /// What was given.
        value: String,
        /// What would have been accepted.
        supported: String,
    },
    /// A file or folder that is missing, damaged or not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Weights that do not fit the network; every problem is listed.
    #[error("{file}: {} problem(s) with the weights:\n  {}", problems.len(), problems.join("\n  "))]
    Weights {
        /// Where the weights came from.
        file: String,
        /// One line per missing, unexpected, misshapen or non-finite tensor.
        problems: Vec<String>,
    },
    /// A tensor operation failed.
    #[error("{0}")]
    Candle(#[from] candle_core::Error),
    /// A schedule, an argument or a file was refused by the base crate.
    #[error("{0}")]
    Core(#[from] diff_core::Error),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Unsupported`] from anything printable.
    pub fn unsupported(
        name: impl Into<String>,
        value: impl Display,
        supported: impl Into<String>,
    ) -> Self {
        Error::Unsupported {
            name: name.into(),
            value: value.to_string(),
            supported: supported.into(),
        }
    }

    /// An [`Error::File`].
    pub fn file(path: impl Into<PathBuf>, message: impl Display) -> Self {
        Error::File { path: path.into(), message: message.to_string() }
    }
}
