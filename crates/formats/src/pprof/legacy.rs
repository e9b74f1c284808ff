//! Recognises what gperftools and old runtimes wrote before pprof was protobuf, to say so.

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

/// `error`, or a clearer one when `bytes` are a format that pprof read before it was protobuf.
#[cold]
pub(super) fn explain(bytes: &[u8], error: Error) -> Error {
    let text = TEXT.iter().any(|start| bytes.starts_with(start.as_bytes()));
    if text || is_binary(bytes) {
        let form = if text { "text" } else { "binary" };
        return Error::invalid(format!(
            "a legacy {form} profile, not protobuf; convert it with `go tool pprof -proto`"
        ));
    }
    error
}

/// Whether the bytes start with the words 0, 3, 0 of a binary CPU profile, of 4 or 8 bytes in either order.
fn is_binary(bytes: &[u8]) -> bool {
    let starts = |width: usize, at: usize| {
        let word = |value: u8, i: usize| {
            (0..width)
                .map(move |b| if b == at { value } else { 0 })
                .enumerate()
                .all(|(b, v)| bytes.get(i * width + b) == Some(&v))
        };
        word(0, 0) && word(3, 1) && word(0, 2)
    };
    starts(4, 0) || starts(4, 3) || starts(8, 0) || starts(8, 7)
}
