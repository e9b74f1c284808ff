//! async-profiler's clocks in the words of everyone else.
//!
//! It calls a profile after the engine that took it and measures in `ns`; its recordings of JFR say of the same samples that
//! they are CPU or wall time. So does this, for what is one of these clocks in both the sample type and the period:
//!
//! | sample type | period | sample type here | period here |
//! |---|---|---|---|
//! | `perf_events`, `ctimer` or `itimer`, `count` | the same, `ns` | `samples:count` | `cpu:nanoseconds` |
//! | the same, `ns` | the same, `ns` | `cpu:nanoseconds` | `cpu:nanoseconds` |
//! | `wall`, `count` | `wall`, `ns` | `samples:count` | `wall:nanoseconds` |
//! | `wall`, `ns` | `wall`, `ns` | `wall:nanoseconds` | `wall:nanoseconds` |
//!
//! All else stays as it is sent, `perf_events` that count something else among it.

use flamestore_model::ValueType;

use super::dictionary::Dictionary;

/// A sample type and a period's type, both of strings of the dictionary, by the names above.
pub(super) fn named(dictionary: &Dictionary, sample: ValueType, period: ValueType) -> (ValueType, ValueType) {
    let (text, known) = (|id| dictionary.text(id), &dictionary.known);
    let clock = match text(period.ty) {
        b"perf_events" | b"ctimer" | b"itimer" => known.cpu,
        b"wall" => known.wall,
        _ => return (sample, period),
    };
    if text(sample.ty) != text(period.ty) || text(period.unit) != b"ns" {
        return (sample, period);
    }
    let time = ValueType { ty: clock, unit: known.nanoseconds };
    match text(sample.unit) {
        b"ns" => (time, time),
        b"count" => (ValueType { ty: known.samples, ..sample }, time),
        _ => (sample, period),
    }
}
