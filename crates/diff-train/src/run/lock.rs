use crate::{Error, Result};
use diff_core::save::io_error;
use std::{
    fs::{File, TryLockError},
    path::Path,
};

/// Held by the one process that writes to a run folder. The system lets go of it when the process
/// ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(out: &Path) -> Result<Self> {
        let path = out.join(".lock");
        let file = File::create(&path).map_err(io_error(&path, "create"))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Input {
                path: out.to_path_buf(),
                message: "another process is training here".into(),
            }),
            Err(TryLockError::Error(e)) => Err(io_error(&path, "lock")(e).into()),
        }
    }
}
