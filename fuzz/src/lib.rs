//! What fuzzing does with bytes from outside: one plain function a target, to be called by libFuzzer and by tests alike.
//! Each panics when a property does not hold.
//!
//! A target for the segment reader belongs here too: bytes of a damaged table in, rows or `Corrupt` out.

use bytes::Bytes;
use flamestore_formats::{Limits, decode_pprof, encode_pprof, pprof_equal};
use flamestore_model::Selector;

/// Limits small enough that a fuzzer reaches them.
fn limits() -> Limits {
    Limits { decompressed_bytes_max: 1 << 20, stack_depth_max: 512, string_bytes_max: 4096, ..Limits::default() }
}

/// A profile that is read passes its own check, and is equal when written and read again.
pub fn pprof(bytes: &[u8]) {
    let Ok(batch) = decode_pprof(Bytes::copy_from_slice(bytes), &limits()) else {
        return;
    };
    batch.check().expect("a decoded profile passes its check");
    let encoded = Bytes::from(encode_pprof(&batch));
    // What is written may be larger than what was read, so it is not read under the same limits.
    let again = decode_pprof(encoded, &Limits::default()).expect("an encoded profile is read");
    again.check().expect("a decoded profile passes its check");
    assert_eq!(batch.samples.len(), again.samples.len(), "samples are neither lost nor made");
    if let Err(difference) = pprof_equal(&batch, &again) {
        panic!("a profile changed on the way out and back in: {difference}");
    }
}

/// A selector that is read prints as a text that is read as the same selector.
pub fn selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(selector) = text.parse::<Selector>() else {
        return;
    };
    let printed = selector.to_string();
    let again: Selector = printed.parse().expect("a printed selector is read");
    assert_eq!(selector, again, "a selector changed when printed as {printed}");
    selector.matches(|_| "value");
}
