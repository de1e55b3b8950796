use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a picture is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No bytes.
    Empty,
    /// The beginning of a picture, without the rest.
    Truncated,
    /// A picture with damage in it.
    Damaged,
    /// Something else.
    NotAPicture,
    /// It cannot be read at all.
    Unreadable,
    /// More pixels or bytes than are decoded.
    TooLarge,
    /// It decodes, but cannot be cropped or resized as asked.
    Unfit,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Empty => "empty",
            Fault::Truncated => "truncated",
            Fault::Damaged => "damaged",
            Fault::NotAPicture => "not a picture",
            Fault::Unreadable => "unreadable",
            Fault::TooLarge => "too large",
            Fault::Unfit => "unfit for the preparation",
        })
    }
}

/// Bytes above which a file is not read.
pub(super) const BYTES: u64 = 1 << 29;

impl Fault {
    /// The fault that a message begins with, if it begins with one.
    pub(super) fn named(message: &str) -> Option<Self> {
        const WORDS: [(&str, Fault); 5] = [
            ("empty", Fault::Empty),
            ("truncated", Fault::Truncated),
            ("not a picture", Fault::NotAPicture),
            ("too large", Fault::TooLarge),
            ("damaged", Fault::Damaged),
        ];
        WORDS.into_iter().find(|(word, _)| message.starts_with(word)).map(|(_, fault)| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::decode;

    #[test]
    fn faults_are_told_apart_by_what_the_decoder_says() {
        let fault = |bytes: &[u8]| Fault::named(&decode(bytes, None).unwrap_err());
        assert_eq!(fault(b""), Some(Fault::Empty));
        assert_eq!(fault(b"<html>"), Some(Fault::NotAPicture));
        assert_eq!(fault(b"\x89PNG\r\n\x1a\n"), Some(Fault::Truncated));
        assert_eq!(Fault::named("damaged: checksum"), Some(Fault::Damaged));
        assert_eq!(Fault::named("crop = celeba is for"), None);
    }
}
