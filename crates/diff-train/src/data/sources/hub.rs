//! Data sets on the Hugging Face Hub, by way of the Parquet files that it makes of every one.

use super::{Opened, Request, open_path, parquet};

const PARQUET: &str = "refs/convert/parquet";

/// Opens `[org/]name[@revision]`.
pub(super) fn open(id: &str, request: &Request) -> Opened {
    let (name, revision) = id.split_once('@').unwrap_or((id, PARQUET));
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 || parts.contains(&"") || revision.is_empty() {
        let expected = "hub:name, hub:org/name or hub:org/name@revision";
        return Err(diff_core::Error::argument("data.source", request.name, expected).into());
    }
    // The Hub's `*` also stands for slashes.
    let pattern = match &request.config.config {
        Some(config) => format!("{config}/*.parquet"),
        None => "*.parquet".to_string(),
    };
    let folder = diff_models::hub::dataset(name, revision, &[pattern.as_str()])?;
    match parquet::recognises(&folder) {
        true => parquet::open(&folder, request),
        false => open_path(&folder, request),
    }
}
