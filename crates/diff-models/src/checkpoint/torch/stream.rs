//! The small reads that pickles are made of.

use crate::error::{Error, Result};
use std::io::{self, BufRead, Read};

/// Bytes of the name of a module or a class.
pub(super) const NAME: usize = 1 << 8;

/// A reader whose failures are told in terms of pickles.
pub(super) struct Stream<R>(pub(super) R);

impl<R: BufRead> Stream<R> {
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map_err(|e| unread(&e))?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// `length` bytes. The length is only a claim: memory grows with what is there.
    pub(super) fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let found = self.0.by_ref().take(length).read_to_end(&mut bytes);
        whole(found.map(|found| found as u64), length)?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, length: u64) -> Result<()> {
        whole(io::copy(&mut self.0.by_ref().take(length), &mut io::sink()), length)
    }

    /// A name that ends with the line.
    pub(super) fn name(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let found = self.0.by_ref().take(NAME as u64).read_until(b'\n', &mut line);
        found.map_err(|e| unread(&e))?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => Err(Error::Input(format!("a name in a pickle has no end within {NAME} bytes"))),
        }
    }
}

fn whole(found: io::Result<u64>, length: u64) -> Result<()> {
    match found.map_err(|e| unread(&e))? < length {
        true => Err(unread(&io::ErrorKind::UnexpectedEof.into())),
        false => Ok(()),
    }
}

fn unread(error: &io::Error) -> Error {
    Error::Input(match error.kind() {
        io::ErrorKind::UnexpectedEof => "truncated: it ends within a pickle".into(),
        _ => format!("cannot read a pickle: {error}"),
    })
}
