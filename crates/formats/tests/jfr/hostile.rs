//! Recordings that lie.

use expect_test::{Expect, expect};
use flamestore_formats::{JfrOptions, Limits};

use crate::recording::{Chunk, INT, STACK, STRING, constant, event, numbers, plain};
use crate::wire::varint;
use crate::{every_event, execution, shown};

fn refused(bytes: Vec<u8>, expected: Expect) {
    expected.assert_eq(shown(bytes, &JfrOptions::default(), &Limits::default()).trim_end());
}

#[test]
fn recordings_that_end_early_are_refused() {
    let whole = every_event().bytes();
    for end in 0..whole.len() {
        let shown = shown(whole[..end].to_vec(), &JfrOptions::default(), &Limits::default());
        assert!(shown.starts_with("Invalid: chunk 0"), "{end}: {shown}");
    }
    refused(
        [whole, vec![0]].concat(),
        expect!["Invalid: chunk 1: not a JFR recording: no chunk starts here [bytes_left=1]"],
    );
    refused(vec![], expect!["Invalid: chunk 0: not a JFR recording: no chunk starts here [bytes_left=0]"]);
    refused(
        b"FLR\0\0\x03\0\0".iter().copied().chain([0; 100]).collect(),
        expect!["Invalid: chunk 0: JFR: the version is neither 1 nor 2 [version=3]"],
    );
    refused(
        b"FLR\0\0\x02\0\0".iter().copied().chain([0x7f; 8]).chain([0; 100]).collect(),
        expect!["Invalid: chunk 0: JFR: a chunk is not whole [size=9187201950435737471, bytes_left=116]"],
    );
}

#[test]
fn no_bytes_make_it_panic() {
    for chunk in [every_event(), execution(&[(0, "event", "wall")])] {
        let whole = chunk.bytes();
        let mut state = 11u64;
        for _ in 0..6000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // The size stays, or nearly all are refused for it.
                let at = 16 + (state >> 33) as usize % (bytes.len() - 16);
                bytes[at] = (state >> 20).to_le_bytes()[0];
            }
            shown(bytes, &JfrOptions::default(), &Limits::default());
        }
    }
}

#[test]
fn classes_that_hold_themselves_are_not_read() {
    let mut chunk = Chunk::new();
    chunk.classes.push((40, "Loop", vec![plain("again", 40)]));
    chunk.class(101, "profiler.Malloc", &[plain("loop", 40)]).event(101, 502, &[vec![0; 8]]);
    refused(chunk.bytes(), expect!["Invalid: chunk 0: JFR: a class cannot be read [offset=73, class=profiler.Malloc]"]);
    // Nobody reads it: an unknown event is skipped by its size.
    let mut chunk = Chunk::new();
    chunk.class(101, "app.Loop", &[plain("loop", 101)]).event(101, 502, &[vec![0; 8]]);
    refused(chunk.bytes(), expect![[""]]);
    let mut chunk = Chunk::new();
    chunk.class(101, "profiler.Malloc", &[plain("x", 999)]).event(101, 502, &[vec![0; 8]]);
    refused(chunk.bytes(), expect!["Invalid: chunk 0: JFR: a class cannot be read [offset=73, class=profiler.Malloc]"]);
}

#[test]
fn classes_of_nothing_cost_nothing() {
    let mut chunk = Chunk::new();
    // Each class holds the one before twice: 2,048 of the first, two billion times, if they were read.
    chunk.classes.push((40, "Nothing", vec![]));
    for id in 41..52 {
        chunk.classes.push((id, "Twice", vec![plain("a", id - 1), plain("b", id - 1)]));
    }
    chunk.classes.push((60, "Many", vec![("list", 51, false, true, "")]));
    let many = varint(u64::from(u32::MAX / 2));
    chunk.class(101, "profiler.Malloc", &[plain("many", 60), plain("size", INT)]).event(101, 502, &[many, varint(5)]);
    refused(
        chunk.bytes(),
        expect![[r#"
        memory malloc_objects/count malloc_bytes/bytes per 0 malloc/bytes at 1000000+9000
         [1, 5] timestamp_ns=1000001nanoseconds"#]],
    );
}

#[test]
fn counts_and_keys_that_lie_are_refused_or_mean_nothing() {
    let mut chunk = execution(&[]);
    chunk.constants.push((STACK, 2, [vec![0], varint(1 << 30)].concat()));
    refused(chunk.bytes(), expect!["Invalid: chunk 0: JFR: the bytes end within a value [offset=1089]"]);
    let mut chunk = execution(&[]);
    chunk.events = vec![(101, numbers(&[502, 999, 999, 999]))];
    refused(
        chunk.bytes(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+9000
         [1, 10000000] timestamp_ns=1000001nanoseconds"#]],
    );
    let mut chunk = execution(&[]);
    chunk.events.push((999, vec![]));
    refused(chunk.bytes(), expect!["Invalid: chunk 0: JFR: an event is of an unknown class [offset=94, class=999]"]);
    let mut chunk = execution(&[]);
    chunk.constants.push((998, 1, vec![]));
    refused(
        chunk.bytes(),
        expect!["Invalid: chunk 0: JFR: constants are of an unknown class [offset=1082, class=998]"],
    );
    let mut chunk = execution(&[]);
    chunk.ticks_per_second = 0;
    refused(chunk.bytes(), expect!["Invalid: chunk 0: JFR: a second has no ticks [offset=68, ticks_per_second=0]"]);
}

#[test]
fn an_event_of_size_zero_is_refused() {
    let mut bytes = execution(&[]).bytes();
    bytes[68] = 0;
    refused(bytes, expect!["Invalid: chunk 0: JFR: an event has a wrong size [offset=69, size=0]"]);
}

#[test]
fn constants_that_refer_to_themselves_are_refused() {
    let chunk = Chunk { constants: vec![], ..Chunk::new() };
    let mut bytes = chunk.bytes();
    // The last event is the constants': type, start, duration, distance, flags, no pools.
    let distance = bytes.len() - 3;
    assert_eq!(bytes[distance - 7..], event(1, &[0, 0, 0, 0, 0])[..]);
    bytes[distance] = 1;
    refused(
        bytes,
        expect!["Invalid: chunk 0: JFR: constants refer to a place that is not before them [offset=724, distance=1]"],
    );
}

#[test]
fn profiles_share_the_limits() {
    let check = |limits: Limits, name: &str| {
        let shown = shown(every_event().bytes(), &JfrOptions::default(), &limits);
        assert!(shown.starts_with("Exhausted") && shown.contains(&format!("the limit {name} ")), "{shown}");
    };
    let all = Limits::default;
    check(Limits { decompressed_bytes_max: 99, ..all() }, "decompressed_bytes_max");
    check(Limits { samples_max: 8, ..all() }, "samples_max");
    check(Limits { labels_max: 20, ..all() }, "labels_max");
    check(Limits { labels_per_sample_max: 2, ..all() }, "labels_per_sample_max");
    check(Limits { stack_locations_max: 10, ..all() }, "stack_locations_max");
    check(Limits { stack_depth_max: 1, ..all() }, "stack_depth_max");
    check(Limits { locations_max: 1, ..all() }, "locations_max");
    check(Limits { string_bytes_max: 19, ..all() }, "string_bytes_max");
    check(Limits { strings_max: 12, ..all() }, "strings_max");
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let mut chunk = Chunk::new();
    let fields = [plain("note", STRING), constant("stackTrace", STACK), ("more", INT, false, true, "")];
    chunk.class(101, "jdk.ExecutionSample", &fields).event(101, 502, &[vec![4, 2, 0x68, 0x69], numbers(&[1, 2, 8, 9])]);
    refused(
        chunk.bytes(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] timestamp_ns=1000001nanoseconds"#]],
    );
}

#[test]
fn fields_of_nothing_cost_nothing() {
    let mut chunk = Chunk::new();
    chunk.classes.push((40, "Nothing", vec![]));
    let fields = [vec![plain("nothing", 40); 20_000], vec![plain("size", INT)]].concat();
    chunk.class(101, "profiler.Malloc", &fields);
    // A thousand million fields, if they were read.
    for _ in 0..50_000 {
        chunk.event(101, 502, &[varint(1)]);
    }
    let shown = shown(chunk.bytes(), &JfrOptions::default(), &Limits::default());
    assert_eq!(shown.lines().count(), 50_001, "{}", shown.lines().next().unwrap());
}
