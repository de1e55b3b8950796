//! What deterministic samplers do with latents: pictures are encoded to them, and samples are made from
//! encoded, mixed and shifted ones (DDIM, sections 5.3 and 5.4).

mod compare;
mod encode;
mod file;
mod slerp;

pub use compare::{Shift, distances_to_last, mean_square, shift};
pub use encode::{Encoding, Start, encode};
pub use file::{About, Latents};
pub use slerp::{grid, line, slerp};
