//! Small segments for tests: profiles over a few locations of every shape.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::cast_possible_truncation, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_calltree::{Interned, Interner, SealSelection, SealedDictionary};
use flamestore_model::{
    Function, Label, LabelValue, Labels, Line, Location, Mapping, NONE, ProfileBatch, ProfileHeader, ProfileId,
    ProfileType, Result, Samples, Selector, Strings, Symbols, TimeRange, ValueType,
};
use flamestore_segment::{
    DictionaryInput, MemorySource, ProfileInput, ProfileMeta, ReadFrom, RollUps, ScanReport, SealedSegment,
    SegmentInput, SegmentOptions, SegmentReader, SeriesInput, Table, all_labels, build_tables, seal,
};
use proptest::prelude::*;

/// A sample: locations (leaf first), value, label.
pub type Sample = (Vec<u32>, i64, Option<u8>);

/// Locations that `batch` knows.
pub const LOCATIONS: u32 = 8;

const STRINGS: [&[u8]; 18] = [
    b"",
    b"main",
    b"read",
    b"write",
    b"app.so",
    b"\xff\xfe",
    b"src/main.rs",
    b"thread",
    b"bytes",
    b"abc123",
    b"timestamp_ns",
    b"nanoseconds",
    b"end_timestamp_ns",
    b"trace_id",
    b"span_id",
    b"0123456789abcdef00000000000000ff",
    b"0123456789abcdef",
    b"00000000000000ff",
];

/// A profile of these samples, with mappings, inlined lines, folded and unsymbolised locations, and sample labels.
pub fn batch(samples: &[Sample]) -> ProfileBatch {
    let mut bytes = Vec::new();
    let mut spans = Vec::new();
    for string in STRINGS {
        spans.push((bytes.len() as u32, string.len() as u32));
        bytes.extend_from_slice(string);
    }
    let line = |function, line, column| Line { function, line, column };
    let location = |mapping, address, is_folded, lines_start, lines_end| Location {
        mapping,
        address,
        is_folded,
        lines_start,
        lines_end,
    };
    let symbols = Symbols {
        strings: Strings::from_spans(Bytes::from(bytes), spans).unwrap(),
        mappings: vec![
            Mapping { memory_start: 0x1000, memory_limit: 0x9000, filename: 4, build_id: 9, ..Mapping::default() },
            Mapping { memory_start: u64::MAX - 9, filename: 6, has_functions: true, ..Mapping::default() },
        ],
        functions: vec![
            Function { name: 1, system_name: 1, filename: 6, start_line: 3 },
            Function { name: 2, system_name: 0, filename: 6, start_line: -1 },
            Function { name: 5, system_name: 3, filename: 0, start_line: i64::MAX },
        ],
        lines: vec![line(0, 10, 0), line(1, 20, 4), line(0, 12, 0), line(2, -5, 1), line(NONE, 7, 0)],
        locations: vec![
            location(0, 0x1500, false, 0, 1),
            location(0, 0x1600, false, 1, 3),
            location(1, 5, true, 1, 2),
            location(NONE, u64::MAX, false, 0, 0),
            location(NONE, 0, false, 3, 4),
            location(0, 0x1500, true, 0, 0),
            location(NONE, 0, false, 4, 5),
            location(NONE, 77, true, 1, 4),
        ],
    };
    let mut out = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
    for (stack, value, label) in samples {
        out.stack_locations.extend(stack);
        out.stack_offsets.push(out.stack_locations.len() as u32);
        out.values.push(*value);
        if let Some(label) = label {
            out.labels.extend(labels_of(*label));
        }
        out.label_offsets.push(out.labels.len() as u32);
    }
    let header = ProfileHeader { sample_types: vec![ValueType::default()], ..ProfileHeader::default() };
    let batch = ProfileBatch { header, symbols, samples: out };
    batch.check().unwrap();
    batch
}

/// From this number on a sample's labels tell observations apart.
pub const OBSERVING: u8 = 8;

fn labels_of(label: u8) -> Vec<Label> {
    let string = |key, value| Label { key, value: LabelValue::Str(value) };
    let number = |key, number, unit| Label { key, value: LabelValue::Num(number, unit) };
    let plain = match label % 3 {
        0 => string(7, u32::from(label % 4)),
        1 => number(8, i64::from(label) - 4, 0),
        _ => number(8, i64::from(label), 8),
    };
    let time = i64::from(label) * 1_000_003;
    let span = string(14, 16 + u32::from(label % 2));
    match label {
        ..OBSERVING => vec![plain],
        8..12 => vec![number(10, time, 11)],
        12..16 => vec![plain, span, number(12, -time, 0)],
        16..20 => vec![string(13, 15), span, number(10, time, 11)],
        // A span that is none and a time of seconds stay labels.
        _ => vec![string(14, 1), number(10, time, 0)],
    }
}

/// One profile to store: service, series (a label value and a type), time, samples.
#[derive(Clone, Debug)]
pub struct Stored {
    pub service: u8,
    pub host: u8,
    pub ty: u8,
    pub time: i64,
    pub samples: Vec<Sample>,
}

pub const TYPES: [&str; 2] = ["memory:inuse_space:bytes:space:bytes", "process_cpu:cpu:nanoseconds:cpu:nanoseconds"];

pub fn labels(stored: &Stored) -> Labels {
    let host = format!("h{}", stored.host);
    let mut labels = Labels::from_pairs([("service_name", format!("svc-{}", stored.service))]).unwrap();
    if stored.host > 0 {
        labels = labels.with("host", &host);
    }
    if stored.host == 2 {
        labels = labels.with("zone", "é\n");
    }
    labels
}

/// Profiles by labels and type, with their place in the list.
type BySeries = BTreeMap<(Labels, u8), Vec<(usize, Interned)>>;

/// The segment of these profiles.
pub fn input(stored: &[Stored]) -> SegmentInput {
    let mut services: BTreeMap<u8, (Interner, BySeries)> = BTreeMap::new();
    for (at, profile) in stored.iter().enumerate() {
        let (interner, series) = services.entry(profile.service).or_insert_with(|| (Interner::new(7), BTreeMap::new()));
        let interned = interner.intern(&batch(&profile.samples)).unwrap();
        series.entry((labels(profile), profile.ty)).or_default().push((at, interned));
    }
    let dictionary = |(service, (interner, series)): (u8, (Interner, BySeries))| {
        let sealed = interner.seal(&SealSelection::default());
        let remap = |map: &[u32], id: u32| if id == NONE { NONE } else { map[id as usize] };
        let profile = |(at, interned): (usize, Interned)| ProfileInput {
            meta: ProfileMeta {
                main_mapping: remap(&sealed.mapping_remap, interned.main_mapping),
                ..meta(at, stored[at].time)
            },
            stacks: interned.stacks,
            values: stored[at].samples.iter().map(|sample| sample.1).collect(),
            label_sets: interned.label_sets.iter().map(|set| remap(&sealed.label_set_remap, *set)).collect(),
            observed: interned.observed,
        };
        let series = series.into_iter().map(|((labels, ty), profiles): ((Labels, u8), _)| SeriesInput {
            labels,
            profile_type: TYPES[ty as usize].parse::<ProfileType>().unwrap(),
            profiles: profiles.into_iter().map(profile).collect(),
        });
        let series = series.collect();
        DictionaryInput { service_name: format!("svc-{service}"), sealed: sealed.sealed, series }
    };
    SegmentInput { dictionaries: services.into_iter().map(dictionary).collect() }
}

fn meta(at: usize, time: i64) -> ProfileMeta {
    let id = ProfileId::from_parts(at as u64, 1);
    let mut meta = ProfileMeta::new(id, time);
    if at.is_multiple_of(3) {
        meta.comments = vec![b"one".to_vec(), b"\xff".to_vec(), Vec::new()];
        meta.default_sample_type = b"cpu".to_vec();
        (meta.value_index, meta.value_count) = (1, 2);
    }
    if at % 3 == 1 {
        (meta.duration_nano, meta.period) = (10_000_000_000, 10_000_000);
        (meta.doc_url, meta.drop_frames, meta.keep_frames) = (b"u".to_vec(), b"d".to_vec(), b"k".to_vec());
    }
    meta
}

/// Tiny row groups and pages, and every table.
pub fn options() -> SegmentOptions {
    SegmentOptions { rollups: RollUps::HoursAndDays, ..SegmentOptions::tiny() }
}

/// Seals with tiny row groups and pages, and every table.
pub fn sealed(stored: &[Stored]) -> SealedSegment {
    sealed_with(stored, RollUps::HoursAndDays)
}

/// Seals with tiny row groups and pages.
pub fn sealed_with(stored: &[Stored], rollups: RollUps) -> SealedSegment {
    let options = SegmentOptions { rollups, ..options() };
    seal(build_tables(input(stored), &options).unwrap(), &options).unwrap()
}

pub fn reader(segment: &SealedSegment) -> SegmentReader {
    SegmentReader::new(Arc::new(MemorySource::from_sealed(segment)))
}

pub fn tables(segment: &SealedSegment) -> Vec<(Table, Bytes)> {
    segment.tables.iter().map(|sealed| (sealed.table, sealed.bytes.clone())).collect()
}

/// The segment that tests of damage and the frozen fixture use.
pub fn example() -> Vec<Stored> {
    let sample = |stack: &[u32], value, label| (stack.to_vec(), value, label);
    let profile = |service, host, ty, time, samples| Stored { service, host, ty, time, samples };
    vec![
        profile(1, 0, 1, 100, vec![sample(&[0, 1, 2], 30, None), sample(&[1, 2], 20, Some(0)), sample(&[], 10, None)]),
        profile(1, 1, 1, 200, vec![sample(&[0, 1, 2], 7, Some(1)), sample(&[3], -7, Some(2)), sample(&[3], 7, None)]),
        profile(1, 1, 0, 200, vec![sample(&[4, 5, 6, 7], i64::MIN, None), sample(&[7], i64::MAX, Some(5))]),
        profile(2, 2, 1, -50, vec![sample(&[2, 2, 2, 0], 1000, None), sample(&[2, 0], 3000, None)]),
        profile(2, 2, 1, 150, vec![]),
        profile(2, 2, 1, 160, vec![sample(&[6], 0, None)]),
    ]
}

/// Samples that differ in time, trace and span.
pub fn observing() -> Vec<Stored> {
    let sample = |stack: &[u32], value, label: u8| (stack.to_vec(), value, Some(label));
    let profile = |service, ty, time, samples| Stored { service, host: 1, ty, time, samples };
    let same_stack = (8..22).rev().map(|label| sample(&[0, 1, 2], i64::from(label), label));
    let mut mixed: Vec<Sample> = (0..22).map(|label| sample(&[u32::from(label % 5)], 3, label)).collect();
    mixed.push((vec![1], 2, None));
    vec![
        profile(1, 1, 100, same_stack.collect()),
        profile(1, 1, 200, vec![(vec![0, 1, 2], 7, None)]),
        profile(2, 0, 100, mixed),
        profile(2, 1, 300, vec![sample(&[2], 1, 9), sample(&[2], 1, 9), sample(&[3], 1, 17)]),
    ]
}

/// The stack of locations (root first) of a stack id.
pub fn stack(sealed: &SealedDictionary, id: u32) -> Vec<u32> {
    sealed.tree.stack(sealed.leaves[id as usize])
}

pub fn profiles() -> impl Strategy<Value = Vec<Stored>> {
    let sample = (
        proptest::collection::vec(0..LOCATIONS, 0..5),
        prop_oneof![4 => -3_i64..4, 1 => (1_i64..9).prop_map(|v| v * 10_000_000), 1 => any::<i64>()],
        prop_oneof![6 => Just(None), 2 => (0..OBSERVING).prop_map(Some), 1 => (OBSERVING..22).prop_map(Some)],
    );
    let stored = (0_u8..3, 0_u8..3, 0_u8..2, -20_i64..20, proptest::collection::vec(sample, 0..12));
    let stored = stored.prop_map(|(service, host, ty, time, samples)| Stored { service, host, ty, time, samples });
    proptest::collection::vec(stored, 0..14)
}

/// Sums by stack of locations, without zeros.
pub type Sums = BTreeMap<(String, Vec<u32>), i64>;

pub fn expected_sums(given: &SegmentInput, selector: &Selector, range: &TimeRange) -> Sums {
    let mut sums = Sums::new();
    for dictionary in &given.dictionaries {
        for series in &dictionary.series {
            let labels = all_labels(&series.labels, &series.profile_type, &dictionary.service_name);
            if !selector.matches(|name| labels.get(name).unwrap_or_default()) {
                continue;
            }
            for profile in series.profiles.iter().filter(|profile| range.contains(profile.meta.time_unix_nano)) {
                for (id, value) in profile.stacks.iter().zip(&profile.values) {
                    let key = (dictionary.service_name.clone(), stack(&dictionary.sealed, *id));
                    let sum = sums.entry(key).or_default();
                    *sum = sum.wrapping_add(*value);
                }
            }
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

pub async fn merged_sums(
    reader: &SegmentReader,
    selector: &Selector,
    range: &TimeRange,
    from: ReadFrom,
) -> Result<Sums> {
    let mut report = ScanReport::default();
    let mut sums = Sums::new();
    for selection in reader.select_from(selector, range, from, &mut report).await? {
        let service = selection.entry.service_name.clone();
        let tree = reader.merge_dictionary(&selection, &mut report).await?;
        let nodes = (0..).zip(&tree.values[0]).filter(|(_, value)| **value != 0);
        sums.extend(nodes.map(|(node, value)| ((service.clone(), tree.tree.stack(node)), *value)));
    }
    Ok(sums)
}
