use std::{io, path::PathBuf};

/// What can go wrong in this crate, always naming the value at fault and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument or a configuration value outside its range.
    #[error("{name} = {value}: expected {expected}")]
    Argument {
        /// The argument, as the user knows it.
        name: String,
        /// What was given.
        value: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A configuration that does not parse or names an unknown key.
    #[error("{origin}: {message}")]
    Config {
        /// The file, or the flag, it came from.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file that could not be read or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done to it.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Argument`] from anything printable.
    pub fn argument(
        name: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Error::Argument { name: name.into(), value: value.to_string(), expected: expected.into() }
    }

    /// True when the user asked for something impossible (exit code 2), false when the world
    /// failed (exit code 1).
    pub fn is_usage(&self) -> bool {
        !matches!(self, Error::Io { .. })
    }
}
