//! SHA-256 of files, which is how weights and references are named in results.

use crate::Error;
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read, path::Path};

/// The SHA-256 of a file's bytes, in lower-case hexadecimal.
///
/// # Errors
/// When the file does not read.
pub fn sha256(path: &Path) -> Result<String, Error> {
    let hashed = File::open(path).and_then(|mut file| {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                n => hasher.update(&buffer[..n]),
            }
        }
    });
    let hash = hashed.map_err(diff_core::save::io_error(path, "read"))?;
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::sha256(&path).unwrap(), expected);
        assert!(super::sha256(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
