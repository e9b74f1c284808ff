//! Recognises the text formats that gperftools and old runtimes wrote before pprof was protobuf, to say so. Their binary
//! CPU profiles are read: see [`super::legacy_cpu`].

use flamestore_model::Error;

/// Starts of the text formats.
const TEXT: [&str; 8] = [
    "heap profile:",
    "heapprofile:",
    "heap_v2/",
    "goroutine profile:",
    "threadcreate profile:",
    "--- contention",
    "--- mutex",
    "--- ",
];

/// Whether `bytes` start as one of the text formats.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    TEXT.iter().any(|start| bytes.starts_with(start.as_bytes()))
}

/// `error`, or a clearer one when `bytes` are a format that pprof read before it was protobuf.
#[cold]
pub(super) fn explain(bytes: &[u8], error: Error) -> Error {
    match is_text(bytes) {
        true => Error::invalid("a legacy text profile, not protobuf; convert it with `go tool pprof -proto`"),
        false => error,
    }
}
