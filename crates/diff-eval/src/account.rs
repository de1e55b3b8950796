//! What is kept account of while pictures go by.

use crate::{
    PictureSource,
    source::{MadeBy, Placed},
};
use diff_train::data::{Fault, Pixels, Report};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Pictures that were measured, and what was decided about those that are not plain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Where they are from, as it was given.
    pub source: String,
    /// Pictures measured.
    pub images: u64,
    /// SHA-256 of their bytes in order, each `[h, w, c]`; of several sources that of their hashes.
    pub sha256: String,
    /// Pictures left out, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<Fault, u64>,
    /// Files that are no pictures by their names.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ignored: u64,
    /// Pictures that became plain RGB of 8 bits, by what they were: grey, palette, 16-bit, CMYK, alpha.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub converted: BTreeMap<String, u64>,
    /// Pictures by height and width; of more than [`SIZES`] sizes the rest is `others`.
    pub sizes: BTreeMap<String, u64>,
    /// What made them, if a network did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

/// Sizes that are told apart.
pub const SIZES: usize = 8;

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Account {
    /// Of the pictures of both.
    pub fn merged(mut self, other: &Account) -> Self {
        let add = |ours: &mut BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>| {
            theirs.iter().for_each(|(name, count)| *ours.entry(name.clone()).or_default() += count);
        };
        self.source = format!("{} + {}", self.source, other.source);
        self.sha256 = hex(Sha256::new().chain_update(&self.sha256).chain_update(&other.sha256));
        self.images += other.images;
        self.ignored += other.ignored;
        for (fault, count) in &other.left_out {
            *self.left_out.entry(*fault).or_default() += count;
        }
        add(&mut self.converted, &other.converted);
        add(&mut self.sizes, &other.sizes);
        self.made_by = self.made_by.filter(|by| Some(by) == other.made_by.as_ref());
        self
    }
}

/// An account that is still being written.
#[derive(Default)]
pub(crate) struct Ledger {
    hasher: Sha256,
    account: Account,
}

impl Ledger {
    /// Enters a picture, and makes it RGB where pictures of any `shape` are taken.
    pub(crate) fn enter(&mut self, placed: Placed, shape: Option<[usize; 3]>) -> Placed {
        let Placed { place, pixels } = placed;
        self.hasher.update(&pixels.bytes);
        let account = &mut self.account;
        account.images += 1;
        let name = format!("{} x {}", pixels.height, pixels.width);
        let known = account.sizes.len() < SIZES || account.sizes.contains_key(&name);
        *account.sizes.entry(if known { name } else { "others".into() }).or_default() += 1;
        let pixels = match (shape, pixels.channels) {
            (None, 1) => {
                *account.converted.entry("grey".into()).or_default() += 1;
                let bytes = pixels.bytes.iter().flat_map(|grey| [*grey; 3]).collect();
                Pixels { channels: 3, bytes, ..pixels }
            }
            _ => pixels,
        };
        Placed { place, pixels }
    }

    /// Pictures so far.
    pub(crate) fn images(&self) -> u64 {
        self.account.images
    }

    /// The account of all pictures of `source`, of which `report` was given; what was left out is said.
    pub(crate) fn close(self, source: &PictureSource, report: Report) -> Account {
        if let Some(warning) = report.warning() {
            eprintln!("{}: {warning}", source.name());
        }
        let mut account = self.account;
        for (kind, count) in report.decided {
            *account.converted.entry(kind).or_default() += count;
        }
        Account {
            source: source.name().into(),
            sha256: hex(self.hasher),
            left_out: report.bad,
            ignored: report.ignored,
            made_by: source.made_by().cloned(),
            ..account
        }
    }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
