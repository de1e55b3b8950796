//! Data sets from files to what training sees.

#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod bad;
mod cache;
mod command;
mod common;
mod folders;
mod formats;
mod parquet;
mod upright;
