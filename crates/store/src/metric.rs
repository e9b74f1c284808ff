//! The names of this crate's metrics, and the calls that move them.

/// Metric names, as they are exported.
pub mod names {
    /// Gauge: bytes held by the heads of all tenants, frozen ones included.
    pub const HEAD_BYTES: &str = "flamestore_head_bytes";
    /// Gauge: source profiles held by the heads of all tenants.
    pub const HEAD_PROFILES: &str = "flamestore_head_profiles";
    /// Counter: source profiles accepted.
    pub const INGESTED_PROFILES: &str = "flamestore_ingested_profiles_total";
    /// Counter: samples accepted; one of several sample types counts once.
    pub const INGESTED_SAMPLES: &str = "flamestore_ingested_samples_total";
    /// Counter: pushes of a profile that was there already.
    pub const DUPLICATE_PROFILES: &str = "flamestore_duplicate_profiles_total";
    /// Counter, by `kind`: pushes refused.
    pub const REFUSED_PROFILES: &str = "flamestore_refused_profiles_total";
    /// Histogram: seconds from freeze to commit of a flush.
    pub const FLUSH_SECONDS: &str = "flamestore_flush_seconds";
    /// Counter, by `kind`: flushes that failed and will be tried again.
    pub const FLUSH_FAILURES: &str = "flamestore_flush_failures_total";
    /// Counter: bytes of segments uploaded.
    pub const FLUSHED_BYTES: &str = "flamestore_flushed_bytes_total";
    /// Counter: manifest commits that found their number taken.
    pub const COMMIT_CONFLICTS: &str = "flamestore_commit_conflicts_total";
    /// Gauge: the manifest version in use.
    pub const MANIFEST_VERSION: &str = "flamestore_manifest_version";
    /// Gauge: live segments.
    pub const SEGMENTS: &str = "flamestore_segments";
    /// Gauge: segments that cannot be read.
    pub const DAMAGED_SEGMENTS: &str = "flamestore_damaged_segments";
    /// Counter: bytes read from the bucket for queries.
    pub const BUCKET_READ_BYTES: &str = "flamestore_bucket_read_bytes_total";
    /// Counter: read requests to the bucket for queries.
    pub const BUCKET_READS: &str = "flamestore_bucket_reads_total";
}
