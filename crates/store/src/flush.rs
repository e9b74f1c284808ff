//! Flush (API; bodies follow).

/// What a flush published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// The manifest's version after it.
    pub version: u64,
    /// Segments published.
    pub segments: usize,
    /// Source profiles published.
    pub profiles: u64,
    /// Bytes of the objects uploaded.
    pub bytes: u64,
}
