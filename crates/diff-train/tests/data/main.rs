//! Data sets from files to what training sees.

mod bad;
mod cache;
mod command;
mod common;
mod folders;
mod parquet;
mod upright;
