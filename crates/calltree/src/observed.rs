//! What tells one observation of a stack from the next: when it was made, and for which span of which trace.
//!
//! Producers send these as labels of samples, a value of its own for nearly every sample. As columns they take their own
//! bytes and nothing else; in label sets each would make a set. So interning takes them out of the labels ([`Lifter`]), and
//! [`Dictionary::row_labels`](crate::Dictionary::row_labels) puts them back:
//!
//! | label | form | column | none |
//! |---|---|---|---|
//! | `timestamp_ns` | a number of `nanoseconds` | `times` | −2⁶³ |
//! | `end_timestamp_ns` | a number without a unit | `end_times` | −2⁶³ |
//! | `trace_id` | 32 hexadecimal digits, `a` to `f` lower case | `trace_ids` | zeros |
//! | `span_id` | 16 of them | `span_ids` | zeros |
//!
//! A label of another form, with a value that stands for none, or whose key the sample has twice stays in the set: from set
//! and columns together come exactly the labels that were sent.
//!
//! Bounded by 40 bytes a row.

use flamestore_model::{Label, LabelValue, ProfileBatch, Result};

use crate::symbol_arena::bytes;

/// The time of an observation that has none.
pub const NO_TIME: i64 = i64::MIN;

/// What an observation says of itself. Ordered by its fields, none first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observation {
    /// When it was made, in nanoseconds since 1970, or [`NO_TIME`].
    pub time: i64,
    /// When that which it measured ended, in nanoseconds since 1970, or [`NO_TIME`].
    pub end_time: i64,
    /// The trace; zeros for none.
    pub trace_id: [u8; 16],
    /// The span; zeros for none.
    pub span_id: [u8; 8],
}

/// Observations in columns, a row each. A column is empty where no row has a value in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// When each was made, or [`NO_TIME`].
    pub times: Vec<i64>,
    /// When that which each measured ended, or [`NO_TIME`].
    pub end_times: Vec<i64>,
    /// The trace of each; zeros for none.
    pub trace_ids: Vec<[u8; 16]>,
    /// The span of each; zeros for none.
    pub span_ids: Vec<[u8; 8]>,
}

/// The value of a label as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelBytes<'a> {
    /// A string.
    Str(&'a [u8]),
    /// A number and its unit, empty if absent.
    Num(i64, &'a [u8]),
}

impl Observation {
    /// One that says nothing.
    pub const NONE: Self = Self { time: NO_TIME, end_time: NO_TIME, trace_id: [0; 16], span_id: [0; 8] };

    /// Whether it says nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Gives its labels to `each`, in order of their keys.
    pub(crate) fn labels(&self, mut each: impl FnMut(&'static [u8], LabelBytes<'_>)) {
        if self.end_time != NO_TIME {
            each(END_TIME, LabelBytes::Num(self.end_time, b""));
        }
        if self.span_id != [0; 8] {
            each(SPAN_ID, LabelBytes::Str(hexadecimal(&self.span_id, &mut [0; 16])));
        }
        if self.time != NO_TIME {
            each(TIME, LabelBytes::Num(self.time, NANOSECONDS));
        }
        if self.trace_id != [0; 16] {
            each(TRACE_ID, LabelBytes::Str(hexadecimal(&self.trace_id, &mut [0; 32])));
        }
    }
}

impl Default for Observation {
    fn default() -> Self {
        Self::NONE
    }
}

impl Observed {
    /// Whether no row says anything.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty() && self.end_times.is_empty() && self.trace_ids.is_empty() && self.span_ids.is_empty()
    }

    /// Whether every column is empty or has this many rows.
    pub fn fits(&self, rows: usize) -> bool {
        let lengths = [self.times.len(), self.end_times.len(), self.trace_ids.len(), self.span_ids.len()];
        lengths.into_iter().all(|length| length == 0 || length == rows)
    }

    /// What row `row` says; nothing where there is no such row.
    pub fn get(&self, row: usize) -> Observation {
        Observation {
            time: self.times.get(row).copied().unwrap_or(NO_TIME),
            end_time: self.end_times.get(row).copied().unwrap_or(NO_TIME),
            trace_id: self.trace_ids.get(row).copied().unwrap_or_default(),
            span_id: self.span_ids.get(row).copied().unwrap_or_default(),
        }
    }

    /// Appends row `row`, which comes after all others.
    pub fn push(&mut self, row: usize, observation: &Observation) {
        push(&mut self.times, row, observation.time, NO_TIME);
        push(&mut self.end_times, row, observation.end_time, NO_TIME);
        push(&mut self.trace_ids, row, observation.trace_id, [0; 16]);
        push(&mut self.span_ids, row, observation.span_id, [0; 8]);
    }

    /// Extends the columns that are there to `rows` rows.
    pub fn extend_to(&mut self, rows: usize) {
        extend(&mut self.times, rows, NO_TIME);
        extend(&mut self.end_times, rows, NO_TIME);
        extend(&mut self.trace_ids, rows, [0; 16]);
        extend(&mut self.span_ids, rows, [0; 8]);
    }

    /// Appends the rows of `other` behind `before` rows.
    pub fn append(&mut self, before: usize, other: Self) {
        append(&mut self.times, before, other.times, NO_TIME);
        append(&mut self.end_times, before, other.end_times, NO_TIME);
        append(&mut self.trace_ids, before, other.trace_ids, [0; 16]);
        append(&mut self.span_ids, before, other.span_ids, [0; 8]);
    }

    /// These rows, in this order.
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            times: take(&self.times, rows, NO_TIME),
            end_times: take(&self.end_times, rows, NO_TIME),
            trace_ids: take(&self.trace_ids, rows, [0; 16]),
            span_ids: take(&self.span_ids, rows, [0; 8]),
        }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.times.clear();
        self.end_times.clear();
        self.trace_ids.clear();
        self.span_ids.clear();
    }

    /// Gives back memory that is not needed.
    pub fn shrink_to_fit(&mut self) {
        self.times.shrink_to_fit();
        self.end_times.shrink_to_fit();
        self.trace_ids.shrink_to_fit();
        self.span_ids.shrink_to_fit();
    }

    /// Bytes that the rows take in memory.
    pub fn memory_bytes(&self) -> usize {
        (self.times.len() + self.end_times.len() + self.span_ids.len()) * 8 + self.trace_ids.len() * 16
    }

    /// The bytes of a row in the columns that `batch` may need: an upper bound, told by the keys of its labels. The batch was
    /// checked.
    pub fn row_bytes_max(batch: &ProfileBatch) -> usize {
        let mut found = [false; MARKS];
        for label in &batch.samples.labels {
            if let Some(mark) = Mark::of(batch.symbols.strings.get(label.key)) {
                found[mark as usize] = true;
            }
        }
        let width = |mark: usize| if mark == Mark::TraceId as usize { 16 } else { 8 };
        (0..MARKS).filter(|mark| found[*mark]).map(width).sum()
    }
}

fn push<T: Copy + PartialEq>(column: &mut Vec<T>, row: usize, value: T, none: T) {
    if value != none || !column.is_empty() {
        column.resize(row, none);
        column.push(value);
    }
}

fn extend<T: Copy>(column: &mut Vec<T>, rows: usize, none: T) {
    if !column.is_empty() {
        column.resize(rows, none);
    }
}

fn append<T: Copy>(column: &mut Vec<T>, before: usize, mut other: Vec<T>, none: T) {
    if !other.is_empty() {
        column.resize(before, none);
        column.append(&mut other);
    }
}

fn take<T: Copy + PartialEq>(column: &[T], rows: &[usize], none: T) -> Vec<T> {
    let value = |row: &usize| column.get(*row).copied().unwrap_or(none);
    match rows.iter().any(|row| value(row) != none) {
        true => rows.iter().map(value).collect(),
        false => Vec::new(),
    }
}

/// Takes the labels out of a sample's labels that are columns.
#[derive(Debug, Default)]
pub(crate) struct Lifter {
    /// The labels that stay, as they came.
    pub(crate) kept: Vec<Label>,
}

impl Lifter {
    /// Splits `labels` into what is returned and what is kept.
    ///
    /// # Errors
    /// `Invalid` when a string is not in the batch.
    pub(crate) fn lift(&mut self, batch: &ProfileBatch, labels: &[Label]) -> Result<Observation> {
        let mut found = [Found::default(); MARKS];
        let mut observation = Observation::NONE;
        for (at, label) in labels.iter().enumerate() {
            if let Some(mark) = Mark::of(bytes(batch, label.key)?) {
                let of_mark = &mut found[mark as usize];
                of_mark.times += 1;
                if of_mark.times == 1 && observation.read(mark, batch, label.value)? {
                    of_mark.lifted = Some(at);
                }
            }
        }
        for (mark, of_mark) in Mark::ALL.into_iter().zip(&mut found) {
            if of_mark.times > 1 {
                of_mark.lifted = None;
                observation.forget(mark);
            }
        }
        self.kept.clear();
        match found.iter().any(|found| found.lifted.is_some()) {
            false => self.kept.extend_from_slice(labels),
            true => {
                let stays = |at: usize| found.iter().all(|found| found.lifted != Some(at));
                self.kept.extend(labels.iter().enumerate().filter(|(at, _)| stays(*at)).map(|(_, label)| *label));
            }
        }
        Ok(observation)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Label>()
    }
}

/// How often a sample has a key, and where the label is that is lifted.
#[derive(Clone, Copy, Default)]
struct Found {
    times: usize,
    lifted: Option<usize>,
}

const TIME: &[u8] = b"timestamp_ns";
const END_TIME: &[u8] = b"end_timestamp_ns";
const TRACE_ID: &[u8] = b"trace_id";
const SPAN_ID: &[u8] = b"span_id";
const NANOSECONDS: &[u8] = b"nanoseconds";

/// A label that is a column.
#[derive(Clone, Copy)]
enum Mark {
    Time,
    EndTime,
    TraceId,
    SpanId,
}

const MARKS: usize = Mark::ALL.len();

impl Mark {
    const ALL: [Self; 4] = [Self::Time, Self::EndTime, Self::TraceId, Self::SpanId];

    fn of(key: &[u8]) -> Option<Self> {
        match key {
            TIME => Some(Self::Time),
            END_TIME => Some(Self::EndTime),
            TRACE_ID => Some(Self::TraceId),
            SPAN_ID => Some(Self::SpanId),
            _ => None,
        }
    }
}

impl Observation {
    /// Takes a value, if it is of the form of its column.
    fn read(&mut self, mark: Mark, batch: &ProfileBatch, value: LabelValue) -> Result<bool> {
        let before = *self;
        match (mark, value) {
            (Mark::Time, LabelValue::Num(time, unit)) if bytes(batch, unit)? == NANOSECONDS => self.time = time,
            (Mark::EndTime, LabelValue::Num(time, unit)) if bytes(batch, unit)?.is_empty() => self.end_time = time,
            (Mark::TraceId, LabelValue::Str(id)) => self.trace_id = id_of(bytes(batch, id)?).unwrap_or_default(),
            (Mark::SpanId, LabelValue::Str(id)) => self.span_id = id_of(bytes(batch, id)?).unwrap_or_default(),
            _ => {}
        }
        Ok(*self != before)
    }

    fn forget(&mut self, mark: Mark) {
        match mark {
            Mark::Time => self.time = NO_TIME,
            Mark::EndTime => self.end_time = NO_TIME,
            Mark::TraceId => self.trace_id = [0; 16],
            Mark::SpanId => self.span_id = [0; 8],
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What each byte is worth as a hexadecimal digit; of others the highest bit is set.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        values[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// The id that is written as exactly so many hexadecimal digits.
fn id_of<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() != BYTES * 2 {
        return None;
    }
    let (mut id, mut seen) = ([0; BYTES], 0);
    for (byte, digits) in id.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = [digits[0], digits[1]].map(|digit| DIGIT_VALUES[usize::from(digit)]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & 0x80 == 0).then_some(id)
}

fn hexadecimal<'a>(id: &[u8], text: &'a mut [u8]) -> &'a [u8] {
    for (digits, byte) in text.chunks_exact_mut(2).zip(id) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}
