//! Benchmarks: one question each, answered as a ratio.
