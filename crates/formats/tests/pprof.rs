//! pprof: what is read, what is refused and how, and that nothing is lost on the way out and back in.

#![expect(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use flamestore_formats::{
    DecodeScratch, LabelText, Limits, ProfileBuilder, decode_pprof, decode_pprof_with, encode_pprof, gzip, pprof_equal,
};
use flamestore_model::{
    ErrorKind, Function, Label, LabelValue, Line, Location, Mapping, NONE, ProfileBatch, ProfileHeader, Result,
    Samples, Strings, Symbols, ValueType,
};
use proptest::prelude::*;

// ---- bytes written by hand ----

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

fn packed(field: u64, values: &[u64]) -> Vec<u8> {
    bytes(field, &values.iter().flat_map(|value| varint(*value)).collect::<Vec<u8>>())
}

fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &parts.concat())
}

/// `strings` as a string table behind the empty string; the first has id 1.
fn strings(strings: &[&str]) -> Vec<u8> {
    [""].iter().chain(strings).flat_map(|text| bytes(6, text.as_bytes())).collect()
}

/// A location of one line in a function with the same id.
fn location(id: u64) -> Vec<u8> {
    message(4, &[number(1, id), message(4, &[number(1, id), number(2, 10 + id)])])
}

fn function(id: u64, name: u64) -> Vec<u8> {
    message(5, &[number(1, id), number(2, name)])
}

fn sample(stack: &[u64], values: &[u64]) -> Vec<u8> {
    message(2, &[packed(1, stack), packed(2, values)])
}

/// Sample type `cpu` of unit `ns`, functions `main` (9) and `leaf` (7), their locations, one sample; then `more`.
fn profile(more: &[Vec<u8>]) -> Bytes {
    let base = [
        message(1, &[number(1, 1), number(2, 2)]),
        sample(&[7, 9], &[5]),
        location(9),
        location(7),
        function(9, 3),
        function(7, 4),
        number(9, 1000),
        strings(&["cpu", "ns", "main", "leaf"]),
    ];
    Bytes::from([base.concat(), more.concat()].concat())
}

// ---- helpers ----

fn decode(bytes: &Bytes) -> Result<ProfileBatch> {
    decode_pprof(bytes.clone(), &Limits::default())
}

/// The batch as text: a line a sample (`root;leaf values {labels}`), then what the header says.
fn show(batch: &ProfileBatch) -> String {
    let strings = &batch.symbols.strings;
    let mut out = String::new();
    for row in 0..batch.samples.len() {
        let mut frames = Vec::new();
        for location in batch.samples.stack(row).iter().rev() {
            frames.extend(batch.lines(*location).iter().rev().map(|line| match line.function {
                NONE => "-".to_owned(),
                id => format!("{}:{}", strings.text(batch.symbols.functions[id as usize].name), line.line),
            }));
        }
        let labels = batch.samples.labels(row).iter().map(|label| match label.value {
            LabelValue::Str(id) => format!(" {}={:?}", strings.text(label.key), strings.text(id)),
            LabelValue::Num(number, unit) => format!(" {}={number}{}", strings.text(label.key), strings.text(unit)),
        });
        out += &format!("{} {:?}{}\n", frames.join(";"), batch.values(row), labels.collect::<String>());
    }
    out
}

fn check(bytes: &Bytes, expected: &str) {
    let shown = match decode(bytes) {
        Ok(batch) => {
            assert!(batch.check().is_ok());
            show(&batch)
        }
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    assert_eq!(shown, expected);
}

/// A batch survives encoding and decoding; gzip makes no difference.
fn check_round_trip(batch: &ProfileBatch) {
    batch.check().unwrap();
    let encoded = Bytes::from(encode_pprof(batch));
    let again = decode(&encoded).unwrap();
    again.check().unwrap();
    pprof_equal(batch, &again).unwrap();
    assert_eq!((batch.samples.len(), show(batch)), (again.samples.len(), show(&again)));
    assert_eq!(batch.symbols.mappings, again.symbols.mappings);
    assert_eq!(batch.symbols.locations, again.symbols.locations);
    let zipped = decode(&Bytes::from(gzip(&encoded).unwrap())).unwrap();
    pprof_equal(batch, &zipped).unwrap();
}

// ---- what is read ----

#[test]
fn fields_come_in_any_order_and_ids_need_not_be_dense() {
    check(&profile(&[]), "main:19;leaf:17 [5]\n");
    let rows = [
        strings(&["cpu", "ns", "main", "leaf"]),
        function(u64::MAX, 3),
        function(1 << 40, 4),
        message(4, &[message(4, &[number(2, 1), number(1, u64::MAX)]), number(1, 5_000_000)]),
        message(4, &[number(5, 1), number(1, 1), message(4, &[number(1, 1 << 40)])]),
        sample(&[1, 5_000_000], &[u64::MAX]),
        message(1, &[number(1, 1)]),
    ];
    check(&Bytes::from(rows.concat()), "main:1;leaf:0 [-1]\n");
}

#[test]
fn repeated_numbers_come_packed_and_one_by_one() {
    let mixed = message(2, &[number(1, 7), packed(1, &[7, 9]), number(1, 9), number(2, 6)]);
    check(&profile(&[mixed]), "main:19;leaf:17 [5]\nmain:19;main:19;leaf:17;leaf:17 [6]\n");
    let comments = [number(13, 1), packed(13, &[2, 3])];
    let batch = decode(&profile(&comments)).unwrap();
    assert_eq!(batch.header.comments, [1, 2, 3]);
}

#[test]
fn unknown_fields_are_skipped() {
    let unknown = [
        number(16, 1),
        bytes(99, b"x"),
        [varint(17 << 3 | 1), vec![0; 8]].concat(),
        [varint(18 << 3 | 5), vec![0; 4]].concat(),
    ];
    let mut expected = String::from("main:19;leaf:17 [5]\n");
    check(&profile(&unknown), &expected);
    let within = message(2, &[packed(2, &[1]), bytes(4, b"x"), number(1, 9)]);
    expected += "main:19 [1]\n";
    check(&profile(&[within]), &expected);
}

#[test]
fn labels_keep_zeros_units_repeats_and_strings() {
    let label = |fields: &[Vec<u8>]| message(3, fields);
    let labels = [
        packed(2, &[1]),
        label(&[number(1, 1), number(2, 3)]),
        label(&[number(1, 1)]),
        label(&[number(1, 1), number(3, u64::MAX), number(4, 2)]),
        label(&[number(1, 1), number(2, 3), number(3, 8)]),
    ];
    let plain = sample(&[], &[2]);
    let expected = "main:19;leaf:17 [5]\n [1] cpu=\"main\" cpu=0 cpu=-1ns cpu=\"main\"\n [2]\n";
    check(&profile(&[message(2, &labels), plain]), expected);
}

#[test]
fn strings_keep_bytes_that_are_not_text() {
    let rows = profile(&[function(4, 5), location(4), sample(&[4], &[1]), bytes(6, b"\xff\xfe")]);
    let batch = decode(&rows).unwrap();
    assert_eq!(batch.symbols.strings.get(5), b"\xff\xfe");
    check_round_trip(&batch);
}

#[test]
fn a_line_without_a_function_and_a_location_without_a_mapping_are_kept() {
    let bare = message(4, &[number(1, 3), number(3, 0xabc), message(4, &[number(2, 5)])]);
    let batch = decode(&profile(&[bare, sample(&[3], &[1])])).unwrap();
    assert_eq!(batch.lines(2), [Line { function: NONE, line: 5, column: 0 }]);
    assert_eq!((batch.symbols.locations[2].mapping, batch.symbols.locations[2].address), (NONE, 0xabc));
    check_round_trip(&batch);
}

// ---- what is refused ----

#[test]
fn rows_that_refer_to_nothing_are_named() {
    let check = |more: &[Vec<u8>], expected: &str| check(&profile(more), &format!("Invalid: {expected}"));
    check(&[sample(&[7, 8], &[1])], "sample 1: location id 8 is not in the location table");
    check(&[sample(&[0, 7, 7, 7], &[1])], "sample 1: location id 0 is not in the location table");
    check(&[sample(&[u64::MAX], &[1])], "sample 1: location id 18446744073709551615 is not in the location table");
    check(&[message(2, &[number(1, 8), number(2, 1)])], "sample 1: location id 8 is not in the location table");
    check(&[location(4)], "location 2: function id 4 is not in the function table");
    check(&[message(4, &[number(1, 4), number(2, 6)])], "location 2: mapping id 6 is not in the mapping table");
    check(&[function(4, 99)], "function 2: string id 99 is not in the string table");
    check(&[function(4, u64::MAX)], "function 2: string id 18446744073709551615 is not in the string table");
    check(&[message(3, &[number(1, 1), number(5, 9)])], "mapping 0: string id 9 is not in the string table");
    check(&[message(1, &[number(2, 5)])], "sample type 1: string id 5 is not in the string table");
    check(&[number(13, 5)], "comment 0: string id 5 is not in the string table");
    check(&[number(14, 5)], "profile field 14: string id 5 is not in the string table");
    let labelled = message(2, &[packed(2, &[1]), message(3, &[number(1, 1), number(2, 1 << 33)])]);
    check(&[labelled], "sample 1: string id 8589934592 is not in the string table");
}

#[test]
fn ids_of_a_table_are_unique_and_not_zero() {
    let check = |more: &[Vec<u8>], expected: &str| check(&profile(more), &format!("Invalid: {expected}"));
    check(&[function(9, 1)], "function 2: id 9 stands twice");
    check(&[location(9)], "location 2: id 9 stands twice");
    check(&[function(0, 1)], "function 2 has id 0, which means none");
    check(&[message(4, &[])], "location 2 has id 0, which means none");
    check(&[message(3, &[])], "mapping 0 has id 0, which means none");
    check(&[function(1 << 50, 1), function(1 << 50, 1)], "function 3: id 1125899906842624 stands twice");
}

#[test]
fn a_profile_says_what_its_values_are() {
    check(&profile(&[sample(&[7], &[1, 2])]), "Invalid: sample 1 has 2 values, but there are 1 sample types");
    check(&profile(&[sample(&[7], &[])]), "Invalid: sample 1 has 0 values, but there are 1 sample types");
    check(&Bytes::from(strings(&[])), "Invalid: the profile has no sample types [samples=0]");
    check(&Bytes::new(), "Invalid: not a pprof profile: it has no string table [bytes=0]");
    let swapped = Bytes::from(bytes(6, b"cpu"));
    check(&swapped, "Invalid: string_table[0] is not the empty string [string=\"cpu\"]");
}

#[test]
fn two_profiles_in_one_are_refused() {
    let one = profile(&[]);
    let two = Bytes::from([one.as_ref(), one.as_ref()].concat());
    let twice = "Invalid: malformed protobuf: field 9 stands twice, as in two profiles written one after the other";
    check(&two, &format!("{twice} [offset={}]", 2 * one.len() - strings(&["cpu", "ns", "main", "leaf"]).len() - 2));
    let zipped = gzip(&one).unwrap();
    assert!(decode(&Bytes::from([zipped.as_slice(), &zipped].concat())).is_err());
    let untimed = Bytes::from([sample(&[], &[]), message(4, &[number(1, 1)]), strings(&[]), message(1, &[])].concat());
    assert!(decode(&Bytes::from([untimed.as_ref(), untimed.as_ref()].concat())).is_err());
}

#[test]
fn formats_older_than_protobuf_are_named() {
    let legacy = "Invalid: a legacy text profile, not protobuf; convert it with `go tool pprof -proto`";
    for text in ["heap profile: 1: 2 [3: 4] @ heap/1\n", "--- contentionz 1 ---\n", "goroutine profile: total 3\n"] {
        check(&Bytes::from_static(text.as_bytes()), legacy);
    }
    let ends_early: Vec<u8> = [0u64, 3, 0, 10_000, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    check(&Bytes::from(ends_early), "Invalid: a binary CPU profile ends early [offset=40]");
}

#[test]
fn every_cut_and_every_changed_byte_gives_an_answer() {
    let mapping = message(3, &[number(1, 300), number(2, 1 << 40), number(5, 1), number(7, 1)]);
    let label = message(3, &[number(1, 1), number(3, 700), number(4, 2)]);
    let whole = profile(&[mapping, message(2, &[packed(1, &[7; 20]), packed(2, &[1]), label])]);
    let mut scratch = DecodeScratch::default();
    let mut answer = |bytes: Bytes| {
        if let Ok(batch) = decode_pprof_with(&mut scratch, bytes, &Limits::default()) {
            batch.check().unwrap();
            scratch.recycle(batch);
        }
    };
    for at in 0..whole.len() {
        answer(whole.slice(..at));
        for bit in 0..8 {
            let mut changed = whole.to_vec();
            changed[at] ^= 1 << bit;
            answer(Bytes::from(changed));
        }
    }
}

#[test]
fn a_profile_over_a_limit_is_refused_with_the_limit() {
    let more = [
        message(3, &[number(1, 1)]),
        message(2, &[packed(2, &[1]), message(3, &[number(1, 1)]), message(3, &[number(1, 2)])]),
        message(4, &[number(1, 1), message(4, &[]), message(4, &[])]),
        message(1, &[]),
    ];
    let whole = profile(&more);
    let check = |limits: Limits, name: &str, limit: usize, found: usize| {
        let error = decode_pprof(whole.clone(), &limits).unwrap_err();
        let expected = format!("the profile is over the limit {name} [limit={limit}, found={found}]");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Exhausted, expected));
    };
    let all = Limits::default;
    check(Limits { decompressed_bytes_max: 20, ..all() }, "decompressed_bytes_max", 20, whole.len());
    check(Limits { sample_types_max: 1, ..all() }, "sample_types_max", 1, 2);
    check(Limits { samples_max: 1, ..all() }, "samples_max", 1, 2);
    check(Limits { mappings_max: 0, ..all() }, "mappings_max", 0, 1);
    check(Limits { locations_max: 2, ..all() }, "locations_max", 2, 3);
    check(Limits { lines_per_location_max: 1, ..all() }, "lines_per_location_max", 1, 2);
    check(Limits { lines_max: 3, ..all() }, "lines_max", 3, 4);
    check(Limits { functions_max: 1, ..all() }, "functions_max", 1, 2);
    check(Limits { strings_max: 4, ..all() }, "strings_max", 4, 5);
    check(Limits { string_bytes_max: 3, ..all() }, "string_bytes_max", 3, 4);
    let one_type = profile(&more[..3]);
    let check = |limits: Limits, expected: &str| {
        let error = decode_pprof(one_type.clone(), &limits).unwrap_err();
        assert_eq!(error.to_string(), format!("the profile is over the limit {expected}"));
    };
    check(Limits { stack_depth_max: 1, ..all() }, "stack_depth_max [limit=1, found=2]");
    check(Limits { labels_max: 1, ..all() }, "labels_max [limit=1, found=2]");
    check(Limits { labels_per_sample_max: 1, ..all() }, "labels_per_sample_max [limit=1, found=2]");
}

// ---- out and back in ----

/// A batch with some of everything.
fn rich() -> ProfileBatch {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").sample_type("cpu", "nanoseconds");
    builder.period("cpu", "nanoseconds", 10_000_000).time(1_700_000_000_000_000_000, 15_000_000_000);
    builder.comment("first").comment("second");
    let texts = ["cpu", "https://example.org", "drop.*", "keep"].map(|text| builder.string(text));
    let header = builder.header_mut();
    [header.default_sample_type, header.doc_url, header.drop_frames, header.keep_frames] = texts;
    let (filename, build_id) = (builder.string("/bin/app"), builder.string("b1d"));
    let mapping = Mapping {
        memory_start: 0x40_0000,
        memory_limit: 0x50_0000,
        file_offset: 0x1000,
        filename,
        build_id,
        has_functions: true,
        has_filenames: false,
        has_line_numbers: true,
        has_inline_frames: true,
    };
    let mapping = builder.mapping(mapping);
    let names = ["main", "inlined", "outer"].map(|name| builder.string(name));
    let functions = names.map(|name| builder.function(Function { name, system_name: name, filename, start_line: -3 }));
    let line = |function, line| Line { function, line, column: line * 2 };
    let leaf = builder.location(mapping, 0x40_1234, false, &[line(functions[1], 4), line(functions[2], -1)]);
    let root = builder.location(mapping, u64::MAX, true, &[line(functions[0], 1), line(NONE, 0)]);
    let bare = builder.location(NONE, 0, false, &[]);
    let labels = [
        ("thread", LabelText::Str("one")),
        ("thread", LabelText::Str("two")),
        ("thread", LabelText::Num(i64::MIN, "id")),
        ("zero", LabelText::Num(0, "")),
        ("empty", LabelText::Str("")),
    ]
    .map(|(key, value)| builder.label(key, value));
    builder.add_row(&[leaf, root], &[1, 10_000_000], &[]);
    builder.add_row(&[leaf, root], &[1, 10_000_000], &labels);
    builder.add_row(&[], &[-1, i64::MIN], &labels[3..]);
    builder.add_row(&[bare; 300], &[0, 0], &[]);
    builder.finish().unwrap()
}

#[test]
fn an_encoded_profile_decodes_to_the_same() {
    check_round_trip(&rich());
    let mut empty = ProfileBuilder::new();
    empty.sample_type("", "");
    check_round_trip(&empty.finish().unwrap());
}

#[test]
fn reused_buffers_change_nothing() {
    let mut scratch = DecodeScratch::default();
    let limits = Limits::default();
    let inputs = [Bytes::from(gzip(&encode_pprof(&rich())).unwrap()), profile(&[]), Bytes::from(encode_pprof(&rich()))];
    for round in 0..3 {
        for input in &inputs {
            let reused = decode_pprof_with(&mut scratch, input.clone(), &limits).unwrap();
            assert_eq!(show(&reused), show(&decode(input).unwrap()), "round {round}");
            scratch.recycle(reused);
            assert!(decode_pprof_with(&mut scratch, input.slice(..input.len() / 2), &limits).is_err());
        }
    }
}

#[test]
fn a_builder_refuses_what_does_not_fit_together() {
    assert!(ProfileBuilder::new().finish().is_err());
    let mut builder = ProfileBuilder::new();
    builder.sample_type("cpu", "ns").add_sample(&["a"], &[1, 2], &[]);
    assert!(builder.finish().is_err());
    let mut builder = ProfileBuilder::new();
    builder.sample_type("cpu", "ns").add_row(&[3], &[1], &[]);
    assert!(builder.finish().is_err());
}

// ---- any profile ----

/// Small ids, so that references hit, with some far numbers among the values.
fn far() -> impl Strategy<Value = i64> {
    prop_oneof![0..4i64, -300..300i64, any::<i64>()]
}

prop_compose! {
    fn any_line(functions: u32)(function in 0..=functions, line in far(), column in far()) -> Line {
        Line { function: if function == functions { NONE } else { function }, line, column }
    }
}

prop_compose! {
    fn any_label()(key in 0..6u32, number in far(), unit in 0..6u32, is_text in any::<bool>()) -> Label {
        Label { key, value: if is_text { LabelValue::Str(unit) } else { LabelValue::Num(number, unit) } }
    }
}

type Row = (Vec<u32>, Vec<i64>, Vec<Label>);

fn any_row(width: usize) -> impl Strategy<Value = Row> {
    let stack = prop::collection::vec(0..200u32, 0..40);
    (stack, prop::collection::vec(far(), width), prop::collection::vec(any_label(), 0..3))
}

prop_compose! {
    fn any_batch()(width in 1..4usize)(
        rows in prop::collection::vec(any_row(width), 0..20),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 6..9),
        functions in prop::collection::vec((0..6u32, 0..6u32, 0..6u32, far()), 1..5),
        mappings in prop::collection::vec((far(), far(), far(), 0..6u32, 0..6u32, any::<[bool; 4]>()), 1..4),
        lines in prop::collection::vec(prop::collection::vec(any_line(1), 0..3), 200),
        places in prop::collection::vec((0..4u32, far(), any::<bool>()), 200),
        numbers in any::<[i64; 3]>(),
        width in Just(width),
    ) -> ProfileBatch {
        let spans = texts.iter().scan(0, |at, text| {
            let span = (*at, text.len() as u32);
            *at += span.1;
            Some(span)
        });
        let spans = [(0, 0)].into_iter().chain(spans).collect();
        let strings = Strings::from_spans(Bytes::from(texts.concat()), spans).unwrap();
        let functions = functions.into_iter().map(|(name, system_name, filename, start_line)| {
            Function { name, system_name, filename, start_line }
        });
        let mappings = Vec::from_iter(mappings.into_iter().map(|(start, limit, offset, filename, build_id, has)| Mapping {
            memory_start: start as u64,
            memory_limit: limit as u64,
            file_offset: offset as u64,
            filename,
            build_id,
            has_functions: has[0],
            has_filenames: has[1],
            has_line_numbers: has[2],
            has_inline_frames: has[3],
        }));
        let mut all_lines = Vec::new();
        let locations = places.into_iter().zip(lines).map(|((mapping, address, is_folded), lines)| {
            let lines_start = all_lines.len() as u32;
            all_lines.extend(lines);
            let mapping = if (mapping as usize) < mappings.len() { mapping } else { NONE };
            Location { mapping, address: address as u64, is_folded, lines_start, lines_end: all_lines.len() as u32 }
        });
        let locations = locations.collect();
        let mut samples = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
        for (stack, values, labels) in rows {
            samples.stack_locations.extend(stack);
            samples.stack_offsets.push(samples.stack_locations.len() as u32);
            samples.values.extend(values);
            samples.labels.extend(labels);
            samples.label_offsets.push(samples.labels.len() as u32);
        }
        let ty = |at: usize| ValueType { ty: at as u32, unit: 5 - at as u32 };
        let header = ProfileHeader {
            sample_types: (0..width).map(ty).collect(),
            default_sample_type: 3,
            period_type: ty(4),
            period: numbers[0],
            time_unix_nano: numbers[1],
            duration_nano: numbers[2],
            comments: vec![0, 5],
            doc_url: 0,
            drop_frames: 1,
            keep_frames: 2,
        };
        let symbols = Symbols { strings, mappings, functions: functions.collect(), lines: all_lines, locations };
        ProfileBatch { header, symbols, samples }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batch_survives_a_round_trip(batch in any_batch()) {
        check_round_trip(&batch);
    }

    #[test]
    fn a_damaged_profile_gives_an_answer(batch in any_batch(), at in any::<prop::sample::Index>(), with in any::<[u8; 3]>()) {
        let mut bytes = encode_pprof(&batch);
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + 3);
        bytes[at..end].copy_from_slice(&with[..end - at]);
        if let Ok(batch) = decode(&Bytes::from(bytes)) {
            prop_assert!(batch.check().is_ok());
        }
    }
}

// ---- profiles of real producers ----

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Files of the corpus that the reference reader refuses too, and what is said of them.
const REFUSED: [(&str, &str); 1] = [("dotnet_function_id_zero.pb.gz", "has id 0, which means none")];

#[test]
fn profiles_of_real_producers_survive_a_round_trip() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else {
        return check_round_trip(&rich());
    };
    let mut scratch = DecodeScratch::default();
    for path in files(&Path::new(&corpus).join("pprof")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        match (decode_pprof_with(&mut scratch, bytes, &Limits::default()), REFUSED.iter().find(|(n, _)| *n == name)) {
            (Ok(batch), None) => {
                batch.check().unwrap();
                let again = decode(&Bytes::from(encode_pprof(&batch))).unwrap();
                pprof_equal(&batch, &again).unwrap_or_else(|difference| panic!("{name}: {difference}"));
                scratch.recycle(batch);
            }
            (Err(error), Some((_, expected))) => assert!(error.to_string().contains(expected), "{name}: {error}"),
            (Ok(_), Some(_)) => panic!("{name} is read"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
}
