use crate::Result;

/// Statistics that grow picture by picture, in f64 or exactly, and can be merged across shards: parts
/// that are merged in any order come to the same but for rounding. A statistic that must not hang on
/// rounding sums whole numbers, as [`PixelMoments`](crate::PixelMoments) does.
pub trait Metric: Sized {
    /// What it sees: [`Pictures`](crate::pictures::Pictures), or the [`Rows`](crate::Rows) that a
    /// space of [`Features`](crate::Features) makes of them, a row a picture.
    type Input: ?Sized;

    /// What comes out in the end.
    type Output;

    /// Takes pictures in.
    ///
    /// # Errors
    /// When their shape differs from that of the input before, or a value is not finite. What was
    /// taken in before then still counts.
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
