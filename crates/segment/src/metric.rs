//! The names of the metrics of caches.

/// Metric names, as they are exported.
pub mod names {
    /// Counter, by `tier` (`memory` and `disk` for bytes as stored; `footer` and `dictionary` for what is decoded): what was
    /// found in a cache.
    pub const CACHE_HITS: &str = "flamestore_cache_hits_total";
    /// Counter, by `tier`: what was asked of a cache and not there.
    pub const CACHE_MISSES: &str = "flamestore_cache_misses_total";
    /// Gauge, by `tier`: bytes in a cache.
    pub const CACHE_BYTES: &str = "flamestore_cache_bytes";
    /// Counter, by `tier`: what had to go for others.
    pub const CACHE_EVICTIONS: &str = "flamestore_cache_evictions_total";
}
