use crate::Result;

/// Statistics that grow picture by picture, in f64, and can be merged across shards.
pub trait Metric: Sized {
    /// What it sees of a picture: its pixels, or what a network makes of it.
    type Input: ?Sized;

    /// What comes out in the end.
    type Output;

    /// Takes pictures in.
    ///
    /// # Errors
    /// When their shape differs from that of the pictures before.
    fn add(&mut self, input: &Self::Input) -> Result<()>;

    /// Takes in what another one has seen.
    ///
    /// # Errors
    /// As [`Metric::add`].
    fn merge(&mut self, other: Self) -> Result<()>;

    /// The result.
    ///
    /// # Errors
    /// When too little was seen.
    fn finish(self) -> Result<Self::Output>;
}
