//! Samples as observations: each with a thread, a time, a trace and a span, as OpenTelemetry sends them.

use flamestore_model::{Label, LabelValue, ProfileBatch, Result, Strings};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Threads of a process.
const THREADS: usize = 8;

/// Observations of one trace.
const TRACE_OBSERVATIONS: usize = 4;

/// `batch` with labels: a time and a span of its own for every sample, a trace for a few, and one of a few threads. `salt`
/// tells these times and ids from others.
///
/// # Errors
/// `Invalid` when the strings are too many.
pub fn observing(batch: &ProfileBatch, salt: u64) -> Result<ProfileBatch> {
    let mut batch = batch.clone();
    let mut strings = Adder::new(&batch);
    let [thread, time, unit, trace, span] =
        ["thread.name", "timestamp_ns", "nanoseconds", "trace_id", "span_id"].map(|key| strings.add(key));
    let threads: Vec<u32> = (0..THREADS).map(|number| strings.add(&format!("worker-{number}"))).collect();
    let start = batch.header.time_unix_nano;
    let (mut labels, mut offsets, mut trace_id) = (Vec::new(), vec![0], 0);
    for row in 0..batch.samples.len() {
        let hash = |what: u8| xxh3_64_with_seed(&[&[what][..], &row.to_le_bytes()].concat(), salt);
        if row % TRACE_OBSERVATIONS == 0 {
            trace_id = strings.add(&format!("{:016x}{:016x}", hash(0), hash(1)));
        }
        let moment = start.wrapping_add(i64::try_from(hash(2) % 15_000_000_000).unwrap_or(0));
        let of_thread = threads[row / TRACE_OBSERVATIONS % THREADS];
        labels.extend([
            Label { key: thread, value: LabelValue::Str(of_thread) },
            Label { key: trace, value: LabelValue::Str(trace_id) },
            Label { key: span, value: LabelValue::Str(strings.add(&format!("{:016x}", hash(3)))) },
            Label { key: time, value: LabelValue::Num(moment, unit) },
        ]);
        offsets.push(u32::try_from(labels.len()).unwrap_or(u32::MAX));
    }
    batch.symbols.strings = strings.finish()?;
    (batch.samples.labels, batch.samples.label_offsets) = (labels, offsets);
    batch.check()?;
    Ok(batch)
}

/// More strings after those of a batch.
struct Adder {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl Adder {
    fn new(batch: &ProfileBatch) -> Self {
        let (bytes, spans) = batch.symbols.strings.clone().into_parts();
        Self { bytes: bytes.to_vec(), spans }
    }

    fn add(&mut self, text: &str) -> u32 {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.spans.push((number(self.bytes.len()), number(text.len())));
        self.bytes.extend_from_slice(text.as_bytes());
        number(self.spans.len() - 1)
    }

    fn finish(self) -> Result<Strings> {
        Strings::from_spans(self.bytes.into(), self.spans)
    }
}
