//! The one place where a database file is mapped into memory.

#![allow(unsafe_code)]

use heed::{Env, EnvFlags, EnvOpenOptions, WithoutTls};
use std::path::Path;

/// Opens an LMDB file for reading; no lock file is needed or made.
///
/// The caller has checked that the file is as long as its header says.
pub(super) fn database(file: &Path) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    let flags = EnvFlags::READ_ONLY | EnvFlags::NO_LOCK | EnvFlags::NO_SUB_DIR;
    // SAFETY: without its lock nothing may write to the database while it is open, and a file that
    // is mapped must not be cut. Data sets are not written to while they are read; what can be
    // checked, that the file holds every page its header counts, is checked before.
    unsafe { options.flags(flags).open(file) }
}

/// Makes a database of the given entries for tests.
#[cfg(test)]
pub(super) fn write(folder: &Path, entries: &[(Vec<u8>, Vec<u8>)]) {
    use heed::{CommitOrAbort, types::Bytes};
    // SAFETY: the folder is the test's own.
    let env = unsafe { EnvOpenOptions::new().map_size(1 << 20).open(folder) }.unwrap();
    let txn = env.write_txn().unwrap();
    let database = env
        .create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        })
        .unwrap()
        .unwrap_commit();
    let mut txn = env.write_txn().unwrap();
    for (key, value) in entries {
        database.put(&mut txn, key, value).unwrap();
    }
    txn.commit().unwrap();
}
