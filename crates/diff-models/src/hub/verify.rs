//! Whether a downloaded file is what the Hub says it is.

use crate::digest::sha256;
use sha1::{Digest, Sha1};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Compares size and hash; the error says what was expected and what was found.
///
/// An etag of 64 hexadecimal digits is the SHA-256 of the file, one of 40 the SHA-1 of its git
/// blob. Any other says nothing about the content.
pub(super) fn verify(path: &Path, size: u64, etag: &str) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("{}: cannot read ({e})", path.display());
    let found = path.metadata().map_err(unreadable)?.len();
    if found != size {
        return Err(format!("expected {size} bytes, found {found}"));
    }
    let etag = etag.to_ascii_lowercase();
    let (kind, found) = match etag.len() {
        _ if !etag.bytes().all(|b| b.is_ascii_hexdigit()) => return Ok(()),
        64 => ("SHA-256", sha256(path).map_err(|e| e.to_string())?),
        40 => ("git SHA-1", git_sha1(path, size).map_err(unreadable)?),
        _ => return Ok(()),
    };
    match found == etag {
        true => Ok(()),
        false => Err(format!("expected {kind} {etag}, found {found}")),
    }
}

/// The name git gives a file of `size` bytes.
fn git_sha1(path: &Path, size: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_both_hashes_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` of the same file.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [git, sha, &sha.to_uppercase(), "abc-2", ""] {
            verify(&path, 6, etag).unwrap();
        }
        assert_eq!(verify(&path, 7, git).unwrap_err(), "expected 7 bytes, found 6");
        std::fs::write(&path, "hullo\n").unwrap();
        for etag in [git, sha] {
            let error = verify(&path, 6, etag).unwrap_err();
            assert!(error.contains(&format!("{etag}, found")), "{error}");
        }
    }
}
