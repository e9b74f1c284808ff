//! Java Flight Recorder: what each event becomes, what is refused, and how much a recording may cost.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../wire/mod.rs"]
mod wire;

mod corpus;
mod hostile;
mod recording;

use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_formats::{JfrOptions, Limits, decode_jfr, gzip};

use recording::{CLASS, Chunk, INT, LONG, STACK, STATE, STRING, THREAD, constant, numbers, plain, text, ticks};
use wire::{bytes, message, number, varint};

fn shown(bytes: Vec<u8>, options: &JfrOptions, limits: &Limits) -> String {
    match decode_jfr(Bytes::from(bytes), options, limits) {
        Err(error) => format!("{:?}: {error}\n", error.kind()),
        Ok(profiles) => profiles.iter().fold(String::new(), |out, profile| {
            profile.batch.check().unwrap();
            let header = &profile.batch.header;
            let time = format!("{}+{}", header.time_unix_nano, header.duration_nano);
            let types = wire::types(&profile.batch);
            format!("{out}{} {types} at {time}\n{}", profile.name, wire::rows(&profile.batch))
        }),
    }
}

fn check(chunk: &Chunk, options: &JfrOptions, expected: Expect) {
    expected.assert_eq(&shown(chunk.bytes(), options, &Limits::default()));
}

/// A chunk with an event of each class that is read, but for samples of execution.
fn every_event() -> Chunk {
    let mut chunk = Chunk::new();
    let (stack, thread) = (constant("stackTrace", STACK), constant("eventThread", THREAD));
    let of_class = constant("objectClass", CLASS);
    let size = plain("allocationSize", LONG);
    chunk
        .class(101, "jdk.CPUTimeSample", &[stack, thread, ticks("samplingPeriod")])
        .event(101, 502, &[numbers(&[1, 1, 40])])
        .class(102, "jdk.NativeMethodSample", &[constant("sampledThread", THREAD), stack, constant("state", STATE)])
        .event(102, 504, &[numbers(&[1, 1, 1])])
        .class(103, "jdk.ObjectAllocationInNewTLAB", &[thread, stack, of_class, size, plain("tlabSize", LONG)])
        .event(103, 506, &[numbers(&[1, 1, 2, 16, 1024])])
        .class(104, "jdk.ObjectAllocationOutsideTLAB", &[thread, stack, of_class, size])
        .event(104, 508, &[numbers(&[1, 1, 1, 4096])])
        .class(105, "jdk.ObjectAllocationSample", &[thread, stack, of_class, plain("weight", LONG)])
        .event(105, 510, &[numbers(&[1, 1, 1, 777])])
        .class(106, "profiler.LiveObject", &[thread, stack, of_class, size, plain("allocationTime", LONG)])
        .event(106, 512, &[numbers(&[1, 1, 1, 32, 7])])
        .class(107, "jdk.JavaMonitorEnter", &[ticks("duration"), thread, stack, constant("monitorClass", CLASS)])
        .event(107, 514, &[numbers(&[2001, 1, 1, 1])])
        .class(108, "jdk.ThreadPark", &[ticks("duration"), thread, stack, constant("parkedClass", CLASS)])
        .event(108, 516, &[numbers(&[10, 1, 99, 0])])
        .class(109, "profiler.Malloc", &[thread, stack, plain("address", LONG), plain("size", LONG)])
        .event(109, 518, &[numbers(&[1, 1, 5, 64])])
        .class(110, "app.Unknown", &[plain("note", STRING)])
        .event(110, 520, &[text("skipped")]);
    chunk
}

/// A chunk with samples of execution in two states, and settings.
fn execution(settings: &[(u64, &str, &str)]) -> Chunk {
    let mut chunk = Chunk::new();
    let fields = [constant("sampledThread", THREAD), constant("stackTrace", STACK), constant("state", STATE)];
    chunk
        .class(101, "jdk.ExecutionSample", &fields)
        .event(101, 502, &[numbers(&[1, 1, 1])])
        .event(101, 504, &[numbers(&[1, 1, 2])])
        .class(102, "jdk.ActiveSetting", &[plain("id", LONG), plain("name", STRING), plain("value", STRING)]);
    for (of, name, value) in settings {
        chunk.event(102, 0, &[varint(*of), text(name), text(value)]);
    }
    chunk
}

#[test]
fn every_kind_of_event_becomes_a_row_of_its_profile() {
    check(
        &every_event(),
        &JfrOptions::default(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 20 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 20] thread_name="worker" thread_id=77 timestamp_ns=1000001nanoseconds
        native samples/count native/nanoseconds per 10000000 native/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000002nanoseconds
        memory alloc_in_new_tlab_objects/count alloc_in_new_tlab_bytes/bytes per 0 space/bytes at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 1024] thread_name="worker" thread_id=77 class="com.shop.Cart[]" timestamp_ns=1000003nanoseconds
        memory alloc_outside_tlab_objects/count alloc_outside_tlab_bytes/bytes per 0 space/bytes at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 4096] thread_name="worker" thread_id=77 class="com.shop.App" timestamp_ns=1000004nanoseconds
        memory alloc_sample_objects/count alloc_sample_bytes/bytes per 0 space/bytes at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 777] thread_name="worker" thread_id=77 class="com.shop.App" timestamp_ns=1000005nanoseconds
        memory live/count inuse_space/bytes per 0 objects/count at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 32] thread_name="worker" thread_id=77 class="com.shop.App" timestamp_ns=1000006nanoseconds
        memory malloc_objects/count malloc_bytes/bytes per 0 malloc/bytes at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 64] thread_name="worker" thread_id=77 timestamp_ns=1000009nanoseconds
        mutex contentions/count delay/nanoseconds per 1 mutex/count at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 1000] thread_name="worker" thread_id=77 class="com.shop.App" timestamp_ns=1000007nanoseconds
        block contentions/count delay/nanoseconds per 1 block/count at 1000000+9000
         [1, 5] thread_name="worker" thread_id=77 timestamp_ns=1000008nanoseconds
    "#]],
    );
}

#[test]
fn samples_of_execution_follow_the_settings() {
    check(
        &execution(&[(101, "period", "20 ms")]),
        &JfrOptions::default(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 20000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 20000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000001nanoseconds
        wall samples/count wall/nanoseconds per 10000000 wall/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_SLEEPING" timestamp_ns=1000002nanoseconds
    "#]],
    );
    let wall = [(0, "event", "wall"), (0, "interval", "5000000")];
    check(
        &execution(&wall),
        &JfrOptions::default(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 5000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 5000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000001nanoseconds
        wall samples/count wall/nanoseconds per 5000000 wall/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 5000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000001nanoseconds
        com.shop.App.main;com.shop.App.leaf:7 [1, 5000000] thread_name="worker" thread_id=77 thread_state="STATE_SLEEPING" timestamp_ns=1000002nanoseconds
    "#]],
    );
    let options = JfrOptions { period_nanos: Some(1_000), labels: None };
    check(
        &execution(&[]),
        &options,
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 1000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 1000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000001nanoseconds
        wall samples/count wall/nanoseconds per 1000 wall/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 1000] thread_name="worker" thread_id=77 thread_state="STATE_SLEEPING" timestamp_ns=1000002nanoseconds
    "#]],
    );
}

#[test]
fn samples_by_the_wall_stand_for_several() {
    let mut chunk = Chunk::new();
    let fields = [constant("stackTrace", STACK), constant("state", STATE), plain("samples", INT)];
    chunk
        .class(101, "profiler.WallClockSample", &fields)
        .event(101, 502, &[numbers(&[1, 2, 30])])
        .event(101, 504, &[numbers(&[1, 1, 1])])
        .class(102, "jdk.ActiveSetting", &[plain("id", LONG), plain("name", STRING), plain("value", STRING)])
        .event(102, 0, &[varint(0), text("event"), text("wall")]);
    check(
        &chunk,
        &JfrOptions::default(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_state="STATE_RUNNABLE" timestamp_ns=1000002nanoseconds
        wall samples/count wall/nanoseconds per 10000000 wall/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [30, 300000000] thread_state="STATE_SLEEPING" timestamp_ns=1000001nanoseconds
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_state="STATE_RUNNABLE" timestamp_ns=1000002nanoseconds
    "#]],
    );
}

#[test]
fn labels_of_pyroscopes_agent_are_those_of_rows() {
    let mut chunk = Chunk::new();
    let fields =
        [constant("stackTrace", STACK), plain("contextId", LONG), plain("spanId", LONG), plain("spanName", LONG)];
    chunk.class(101, "jdk.ExecutionSample", &fields).event(101, 502, &[numbers(&[1, 5, 0xabc, 3])]).event(
        101,
        504,
        &[numbers(&[1, 6, 0, 0])],
    );
    let entry = |field, key, value: Vec<u8>| message(field, &[number(1, key), value]);
    let pair = |key, value| message(1, &[number(1, key), number(2, value)]);
    let labels = [
        entry(1, 5, message(2, &[pair(1, 2), pair(9, 2)])),
        entry(2, 1, bytes(2, "region")),
        entry(2, 2, bytes(2, "eu")),
        entry(2, 3, bytes(2, "checkout")),
    ];
    let plain = JfrOptions { labels: Some(Bytes::from(labels.concat())), ..JfrOptions::default() };
    check(
        &chunk,
        &plain,
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] region="eu" span_id="0000000000000abc" span_name="checkout" timestamp_ns=1000001nanoseconds
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] timestamp_ns=1000002nanoseconds
    "#]],
    );
    let zipped = JfrOptions { labels: Some(Bytes::from(gzip(&labels.concat()).unwrap())), ..JfrOptions::default() };
    let limits = Limits::default();
    let recording = gzip(&chunk.bytes()).unwrap();
    assert_eq!(shown(recording, &zipped, &limits), shown(chunk.bytes(), &plain, &limits));
}

#[test]
fn chunks_have_clocks_and_constants_of_their_own() {
    let first = execution(&[]);
    let mut second = execution(&[]);
    (second.start_nanos, second.start_ticks, second.ticks_per_second) = (2_000_000, 0, 1_000_000_000);
    second
        .constants
        .iter_mut()
        .filter(|(_, _, value)| *value == text("leaf"))
        .for_each(|(_, _, value)| *value = text("other"));
    let both = [first.bytes(), second.bytes()].concat();
    expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+1009000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=1000001nanoseconds
        com.shop.App.main;com.shop.App.other:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_RUNNABLE" timestamp_ns=2000502nanoseconds
        wall samples/count wall/nanoseconds per 10000000 wall/nanoseconds at 1000000+1009000
        com.shop.App.main;com.shop.App.leaf:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_SLEEPING" timestamp_ns=1000002nanoseconds
        com.shop.App.main;com.shop.App.other:7 [1, 10000000] thread_name="worker" thread_id=77 thread_state="STATE_SLEEPING" timestamp_ns=2000504nanoseconds
    "#]].assert_eq(&shown(both, &JfrOptions::default(), &Limits::default()));
}

#[test]
fn datadogs_samples_have_a_weight() {
    let mut chunk = Chunk::new();
    let float = |value: f32| value.to_be_bytes().to_vec();
    let fields = [constant("stackTrace", STACK), plain("spanId", LONG), plain("localRootSpanId", LONG)];
    chunk
        .class(101, "datadog.ExecutionSample", &[&fields[..], &[plain("weight", LONG)]].concat())
        .event(101, 502, &[numbers(&[1, 255, 16, 3])])
        .class(102, "datadog.MethodSample", &[&fields[..], &[plain("weight", 14)]].concat())
        .event(102, 504, &[numbers(&[1, 0, 0]), float(2.0)]);
    check(
        &chunk,
        &JfrOptions::default(),
        expect![[r#"
        process_cpu samples/count cpu/nanoseconds per 10000000 cpu/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [3, 30000000] span_id="00000000000000ff" local_root_span_id="0000000000000010" timestamp_ns=1000001nanoseconds
        wall samples/count wall/nanoseconds per 10000000 wall/nanoseconds at 1000000+9000
        com.shop.App.main;com.shop.App.leaf:7 [2, 20000000] timestamp_ns=1000002nanoseconds
    "#]],
    );
}

#[test]
fn numbers_that_are_no_varints_are_read() {
    // Sizes and numbers of texts take four bytes, ids and times eight, the highest first.
    let event = |class: i64, fields: &[u8]| {
        let size = u32::try_from(12 + fields.len()).unwrap();
        [size.to_be_bytes().to_vec(), class.to_be_bytes().to_vec(), fields.to_vec()].concat()
    };
    let texts = [
        "root",
        "metadata",
        "class",
        "id",
        "name",
        "10",
        "long",
        "11",
        "profiler.Malloc",
        "field",
        "startTime",
        "size",
    ];
    let texts = texts.iter().flat_map(|text| {
        [vec![3], u32::try_from(text.len()).unwrap().to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
    });
    let element = |ids: &[u32]| ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>();
    let root = [
        // root, no attributes, one child; metadata, none, two.
        element(&[0, 0, 1, 1, 0, 2]),
        // class {id 10, name long}, no children.
        element(&[2, 2, 3, 5, 4, 6, 0]),
        // class {id 11, name profiler.Malloc} with two fields {name, class 10}.
        element(&[2, 2, 3, 7, 4, 8, 2]),
        element(&[9, 2, 4, 10, 2, 5, 0]),
        element(&[9, 2, 4, 11, 2, 5, 0]),
    ];
    let metadata = [[0u8; 24].to_vec(), 12u32.to_be_bytes().to_vec(), texts.collect(), root.concat()].concat();
    let malloc = event(11, &[502i64.to_be_bytes(), 64i64.to_be_bytes()].concat());
    let metadata_at = i64::try_from(68 + malloc.len()).unwrap();
    let body = [malloc, event(0, &metadata)].concat();
    let size = i64::try_from(68 + body.len()).unwrap();
    let header = [size, 0, metadata_at, 1_000_000, 9_000, 500, 2_000_000_000];
    let header = header.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    let recording = [b"FLR\0\0\x01\0\0".to_vec(), header, vec![0; 4], body].concat();
    expect![[r#"
        memory malloc_objects/count malloc_bytes/bytes per 0 malloc/bytes at 1000000+9000
         [1, 64] timestamp_ns=1000001nanoseconds
    "#]]
    .assert_eq(&shown(recording, &JfrOptions::default(), &Limits::default()));
}
