//! Labels that become columns, and come back as they were.

use bytes::Bytes;
use flamestore_calltree::{
    Dictionary, Interned, Interner, Label, LabelBytes, LabelValue, NO_TIME, NONE, Observation, Observed, SealSelection,
};
use flamestore_model::{ProfileBatch, ProfileHeader, Samples, Strings, Symbols, ValueType};
use proptest::prelude::*;

/// Key, then a text or a number with its unit.
type Given = (&'static str, Result<&'static str, (i64, &'static str)>);

const TRACE: &str = "0123456789abcdef0123456789abcdef";
const SPAN: &str = "00000000000000ff";

/// A batch of samples without stacks. Every string has a row of its own, also where it stands twice.
fn batch(samples: &[Vec<Given>]) -> ProfileBatch {
    let (mut bytes, mut spans) = (Vec::new(), vec![(0, 0)]);
    let mut string = |text: &str| {
        spans.push((u32::try_from(bytes.len()).unwrap(), u32::try_from(text.len()).unwrap()));
        bytes.extend_from_slice(text.as_bytes());
        u32::try_from(spans.len() - 1).unwrap()
    };
    let mut columns = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
    for labels in samples {
        for (key, value) in labels {
            let key = string(key);
            let value = match value {
                Ok(text) => LabelValue::Str(string(text)),
                Err((number, unit)) => LabelValue::Num(*number, string(unit)),
            };
            columns.labels.push(Label { key, value });
        }
        columns.stack_offsets.push(0);
        columns.values.push(1);
        columns.label_offsets.push(u32::try_from(columns.labels.len()).unwrap());
    }
    let strings = Strings::from_spans(Bytes::from(bytes), spans).unwrap();
    let (mappings, functions, lines, locations) = Default::default();
    let symbols = Symbols { strings, mappings, functions, lines, locations };
    let header = ProfileHeader { sample_types: vec![ValueType::default()], ..ProfileHeader::default() };
    let batch = ProfileBatch { header, symbols, samples: columns };
    batch.check().unwrap();
    batch
}

/// What interning makes of the samples, and the dictionary its label sets are of.
fn interned(samples: &[Vec<Given>]) -> (Interned, std::sync::Arc<Dictionary>) {
    let mut interner = Interner::new(1);
    let mut interned = interner.intern(&batch(samples)).unwrap();
    let sealed = interner.seal(&SealSelection::default());
    for set in interned.label_sets.iter_mut().filter(|set| **set != NONE) {
        *set = sealed.label_set_remap[*set as usize];
    }
    (interned, sealed.sealed.dictionary)
}

fn text(key: &[u8], value: LabelBytes<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match value {
        LabelBytes::Str(value) => format!("{}={:?}", text(key), text(value)),
        LabelBytes::Num(number, unit) => format!("{}={number}{}", text(key), text(unit)),
    }
}

/// The labels of every sample, as they come out.
fn out(samples: &[Vec<Given>]) -> Vec<Vec<String>> {
    let (interned, dictionary) = interned(samples);
    let row = |row: usize| {
        let set = interned.label_sets.get(row).copied().unwrap_or(NONE);
        let mut labels = Vec::new();
        dictionary.row_labels(set, &interned.observed.get(row), |key, value| labels.push(text(key, value)));
        labels
    };
    (0..samples.len()).map(row).collect()
}

/// The same by definition: by key, strings before numbers, else as they came.
fn sorted(samples: &[Vec<Given>]) -> Vec<Vec<String>> {
    let labels = |labels: &Vec<Given>| {
        let mut labels = labels.clone();
        labels.sort_by_key(|(key, value)| (*key, value.is_err()));
        let bytes = |(key, value): Given| match value {
            Ok(value) => text(key.as_bytes(), LabelBytes::Str(value.as_bytes())),
            Err((number, unit)) => text(key.as_bytes(), LabelBytes::Num(number, unit.as_bytes())),
        };
        labels.into_iter().map(bytes).collect()
    };
    samples.iter().map(labels).collect()
}

fn check_lifted(labels: Vec<Given>, expected: Observation, sets: usize) {
    let samples = [labels];
    let (interned, dictionary) = interned(&samples);
    assert_eq!(interned.observed.get(0), expected, "{samples:?}");
    assert_eq!(dictionary.label_sets.len(), sets, "{samples:?}");
    assert_eq!(out(&samples), sorted(&samples));
}

#[test]
fn labels_of_their_very_form_become_columns() {
    let none = Observation::NONE;
    let mut trace_id = [0; 16];
    hex(TRACE, &mut trace_id);
    let span_id = [0, 0, 0, 0, 0, 0, 0, 0xff];
    check_lifted(vec![("timestamp_ns", Err((-7, "nanoseconds")))], Observation { time: -7, ..none }, 0);
    check_lifted(vec![("end_timestamp_ns", Err((0, "")))], Observation { end_time: 0, ..none }, 0);
    check_lifted(vec![("trace_id", Ok(TRACE))], Observation { trace_id, ..none }, 0);
    check_lifted(vec![("span_id", Ok(SPAN))], Observation { span_id, ..none }, 0);
    let all = Observation { time: 1, end_time: i64::MAX, trace_id, span_id };
    let labels = vec![
        ("trace_id", Ok(TRACE)),
        ("zone", Ok("z")),
        ("timestamp_ns", Err((1, "nanoseconds"))),
        ("span_id", Ok(SPAN)),
        ("thread", Err((4, ""))),
        ("end_timestamp_ns", Err((i64::MAX, ""))),
    ];
    check_lifted(labels, all, 1);
}

fn hex(text: &str, out: &mut [u8]) {
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
    }
}

#[test]
fn labels_of_another_form_stay_labels() {
    let others: [Given; 14] = [
        ("timestamp_ns", Err((1, ""))),
        ("timestamp_ns", Err((1, "seconds"))),
        ("timestamp_ns", Err((NO_TIME, "nanoseconds"))),
        ("timestamp_ns", Ok("1")),
        ("end_timestamp_ns", Err((1, "nanoseconds"))),
        ("end_timestamp_ns", Err((NO_TIME, ""))),
        ("trace_id", Ok("0123456789ABCDEF0123456789abcdef")),
        ("trace_id", Ok("00000000000000000000000000000000")),
        ("trace_id", Ok(SPAN)),
        ("trace_id", Err((1, ""))),
        ("span_id", Ok("0000000000000000")),
        ("span_id", Ok("239")),
        ("span_id", Ok("00000000000000fg")),
        ("span_id ", Ok(SPAN)),
    ];
    for label in others {
        check_lifted(vec![label], Observation::NONE, 1);
    }
}

#[test]
fn a_key_that_a_sample_has_twice_is_no_column() {
    check_lifted(vec![("span_id", Ok(SPAN)), ("span_id", Ok(SPAN))], Observation::NONE, 1);
    check_lifted(vec![("span_id", Ok(SPAN)), ("a", Ok("x")), ("span_id", Err((3, "")))], Observation::NONE, 1);
    let time = Observation { time: 5, ..Observation::NONE };
    let labels = vec![("span_id", Ok("x")), ("timestamp_ns", Err((5, "nanoseconds"))), ("span_id", Ok(SPAN))];
    check_lifted(labels, time, 1);
}

#[test]
fn samples_that_differ_in_columns_only_share_their_label_set() {
    let sample = |time, thread| vec![("timestamp_ns", Err((time, "nanoseconds"))), ("thread", Ok(thread))];
    let samples: Vec<Vec<Given>> = vec![sample(1, "a"), sample(2, "a"), vec![], sample(3, "b"), sample(1, "a")];
    let (found, dictionary) = interned(&samples);
    assert_eq!((found.label_sets, dictionary.label_sets.len()), (vec![0, 0, NONE, 1, 0], 2));
    let expected = Observed { times: vec![1, 2, NO_TIME, 3, 1], ..Observed::default() };
    assert_eq!(found.observed, expected);
    assert_eq!(found.observed.take(&[3, 0]).times, [3, 1]);
    assert_eq!(found.observed.take(&[2]), Observed::default());
    assert_eq!(Observed::row_bytes_max(&batch(&samples)), 8);
    assert_eq!(out(&samples), sorted(&samples));
}

#[test]
fn columns_without_label_sets_leave_none() {
    let samples = vec![vec![], vec![("span_id", Ok(SPAN))]];
    let (found, dictionary) = interned(&samples);
    assert_eq!((found.label_sets, dictionary.label_sets.len()), (vec![], 0));
    assert_eq!(found.observed.span_ids, [[0; 8], [0, 0, 0, 0, 0, 0, 0, 0xff]]);
    assert!(!dictionary.strings.iter().any(|string| string == b"span_id"), "nothing refers to the key");
}

fn given() -> impl Strategy<Value = Vec<Vec<Given>>> {
    let key = prop::sample::select(vec!["timestamp_ns", "end_timestamp_ns", "trace_id", "span_id", "a", "thread", "z"]);
    let number = (prop_oneof![Just(NO_TIME), -2_i64..2], prop::sample::select(vec!["", "nanoseconds"]));
    let texts = vec!["", "x", SPAN, TRACE, "0000000000000000", "00000000000000000000000000000000"];
    let value = prop_oneof![number.prop_map(Err), prop::sample::select(texts).prop_map(Ok)];
    prop::collection::vec(prop::collection::vec((key, value), 0..6), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn labels_come_back_as_they_were(samples in given()) {
        prop_assert_eq!(out(&samples), sorted(&samples));
        let (interned, _) = interned(&samples);
        prop_assert!(interned.observed.fits(samples.len()) || interned.observed.is_empty());
        let row_bytes = Observed::row_bytes_max(&batch(&samples));
        prop_assert!(interned.observed.memory_bytes() <= samples.len() * row_bytes);
    }
}
