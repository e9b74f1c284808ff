//! The names of this crate's metrics, and the calls that move them.

/// Metric names, as they are exported.
pub mod names {
    pub use flamestore_segment::metric_names::{CACHE_BYTES, CACHE_EVICTIONS, CACHE_HITS, CACHE_MISSES};

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
    /// Counter: merges of segments that were committed.
    pub const COMPACTIONS: &str = "flamestore_compactions_total";
    /// Counter: bytes of the segments they replaced.
    pub const COMPACTED_BYTES_IN: &str = "flamestore_compacted_bytes_in_total";
    /// Counter: bytes of the segments they wrote.
    pub const COMPACTED_BYTES_OUT: &str = "flamestore_compacted_bytes_out_total";
    /// Histogram: seconds of a merge from its first read to its commit.
    pub const COMPACTION_SECONDS: &str = "flamestore_compaction_seconds";
    /// Counter, by `kind`: rounds of the compactor that failed and will be tried again.
    pub const COMPACTION_FAILURES: &str = "flamestore_compaction_failures_total";
    /// Gauge: segments that were never merged.
    pub const FRESH_SEGMENTS: &str = "flamestore_fresh_segments";
    /// Counter: objects deleted because nothing refers to them.
    pub const COLLECTED_OBJECTS: &str = "flamestore_collected_objects_total";
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
    /// Gauge: bytes of the write-ahead log that are not published.
    pub const WAL_BYTES: &str = "flamestore_wal_bytes";
    /// Counter: commits of the write-ahead log: syncs of a file, or objects.
    pub const WAL_COMMITS: &str = "flamestore_wal_commits_total";
    /// Counter: records made durable.
    pub const WAL_RECORDS: &str = "flamestore_wal_records_total";
    /// Histogram: seconds of a commit of the write-ahead log.
    pub const WAL_COMMIT_SECONDS: &str = "flamestore_wal_commit_seconds";
    /// Counter, by `kind`: commits of the write-ahead log that failed.
    pub const WAL_FAILURES: &str = "flamestore_wal_failures_total";
    /// Counter: parts of the write-ahead log found damaged.
    pub const WAL_DAMAGED_PARTS: &str = "flamestore_wal_damaged_parts_total";
}
