//! The python that the peers' code runs in.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Names it where no option does.
const VARIABLE: &str = "DIFF_PEER_PYTHON";

/// What is wrong where nothing does.
pub(crate) const NOT_NAMED: &str = "neither --peer-python nor DIFF_PEER_PYTHON names a python";

/// The python that is `given`, or else that of the environment.
pub(crate) fn peer(given: Option<&Path>) -> Option<PathBuf> {
    let named = || env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    given.map(Path::to_path_buf).or_else(named)
}
