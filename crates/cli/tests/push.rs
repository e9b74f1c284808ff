//! `push` with files of every format: what they are told to be, what becomes of their labels and times, what is stored of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

/// The recordings that the decoder's own tests are made of.
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../formats/tests/jfr/recording.rs"]
mod recording;
/// The requests that the decoder's own tests are made of.
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../formats/tests/otlp/request.rs"]
mod request;
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;
#[path = "../../formats/tests/wire/mod.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flamestore_formats::{
    FoldedOptions, JfrOptions, Limits, decode_folded, decode_jfr, decode_otlp, decode_otlp_json, decode_speedscope,
    decode_tree, gzip,
};
use flamestore_model::ProfileBatch;
use flamestore_testkit::{folded, profile_types};
use recording::{Chunk, STACK, STATE, THREAD, constant, numbers, ticks};
use request::{LAYOUTS, Request, Sample};
use support::{Done, Running};

const COUNTS: &str = "process_cpu:samples:count::";
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
const AROUND: [&str; 4] = ["--from", "2026-05-01", "--to", "2026-05-02"];

/// A server, and a folder for files.
struct House {
    folder: tempfile::TempDir,
    server: Running,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Running::serve(&folder.path().join("store"));
        Self { folder, server }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Pushes a file at noon.
    fn run(&self, file: &str, args: &[&str]) -> Done {
        self.server.run(&[&["push", file, "--time", &NOON.to_string()], args].concat())
    }

    /// Pushes a file at noon that must be taken; the ids of its profiles.
    fn push(&self, file: &str, args: &[&str]) -> Vec<String> {
        let done = self.run(file, args);
        assert_eq!(done.code, Some(0), "{file}: {}", done.err);
        let ids = done.out.lines().map(|line| line.strip_suffix(file).unwrap_or_else(|| panic!("{line}")).trim());
        ids.map(str::to_owned).collect()
    }

    /// The sum of all that was taken at noon.
    fn sum(&self, query: &str) -> String {
        self.server.ok(&[&["merge", "--query", query, "--combine", "sum"], &AROUND[..]].concat())
    }

    fn check(&self, name: &str, bytes: impl AsRef<[u8]>, args: &[&str], expected: &[(&str, &str)]) {
        let file = self.file(name, bytes);
        for _ in 0..2 {
            // the same file sent again counts once
            assert!(!self.push(&file, args).is_empty(), "{name}");
        }
        for (query, lines) in expected {
            assert_eq!(self.sum(query), *lines, "{name} {query}");
        }
    }
}

/// A node of a tree.
fn node(name: &str, value: u8, children: &[Vec<u8>]) -> Vec<u8> {
    let count = |n: usize| u8::try_from(n).unwrap();
    [&[count(name.len())], name.as_bytes(), &[value, count(children.len())], &children.concat()].concat()
}

fn jfr() -> Vec<u8> {
    let mut chunk = Chunk::new();
    let (stack, thread) = (constant("stackTrace", STACK), constant("sampledThread", THREAD));
    let entered = [ticks("duration"), constant("eventThread", THREAD), stack];
    chunk
        .class(101, "jdk.ExecutionSample", &[thread, stack, constant("state", STATE)])
        .event(101, 502, &[numbers(&[1, 1, 1])])
        .class(102, "jdk.JavaMonitorEnter", &entered)
        .event(102, 504, &[numbers(&[2001, 1, 1])]);
    chunk.bytes()
}

#[test]
fn stacks_of_names_are_counts_of_samples() {
    let house = House::new();
    let text = "main;read 3\nmain;write 1\n";
    let of = |service: &str| format!("{COUNTS}{{service_name=\"{service}\"}}");
    house.check("a.folded", text, &[], &[(&of("a"), text)]);
    house.check("b", gzip(text.as_bytes()).unwrap(), &[], &[(&of("b"), text)]);
    let lines = "main;read\nmain;write\nmain;read\nmain;read\n";
    house.check("c.lines", lines, &[], &[(&of("c"), text)]);
    house.check("d.txt", lines, &["--format", "lines"], &[(&of("d"), text)]);
    let children = [node("write", 1, &[]), node("read", 3, &[])];
    house.check("e.tree", node("", 0, &[node("main", 0, &children)]), &[], &[(&of("e"), text)]);
    let trie = node("", 0, &[node("main;", 0, &children)]);
    house.check("f.trie.gz", gzip(&trie).unwrap(), &[], &[(&of("f"), text)]);
    house.check("g.bin", &trie, &["--format", "trie", "--label", "service_name=g"], &[(&of("g"), text)]);
}

#[test]
fn files_of_speedscope_are_typed_by_their_unit() {
    let house = House::new();
    let profile = |name: &str, unit: &str, weight: u32| {
        format!(
            r#"{{"type":"sampled","name":"{name}","unit":"{unit}","startValue":0,"endValue":9,"samples":[[0,1]],"weights":[{weight}]}}"#
        )
    };
    let profiles =
        [profile("thread 1", "milliseconds", 3), profile("thread 2", "bytes", 5), profile("", "none", 7)].join(",");
    let schema = "https://www.speedscope.app/file-format-schema.json";
    let json = format!(
        r#"{{"$schema":"{schema}","shared":{{"frames":[{{"name":"main"}},{{"name":"read"}}]}},"profiles":[{profiles}]}}"#
    );
    let expected = [
        (r#"wall:wall:nanoseconds::{service_name="shop",profile_name="thread 1"}"#, "main;read 3000000\n"),
        (r#"memory:samples:bytes::{service_name="shop",profile_name="thread 2"}"#, "main;read 5\n"),
        (r#"process_cpu:samples:count::{service_name="shop",profile_name=""}"#, "main;read 7\n"),
    ];
    house.check("shop.speedscope.json", json, &[], &expected);
}

#[test]
fn a_recording_is_a_profile_for_each_kind_of_event() {
    let house = House::new();
    let stack = "com.shop.App.main;com.shop.App.leaf";
    let (count, nanos) = (format!("{stack} 1\n"), format!("{stack} 10000000\n"));
    let waited = format!("{stack} 1000\n");
    for (name, bytes) in [("plain.jfr", jfr()), ("packed", gzip(&jfr()).unwrap())] {
        let service = name.split('.').next().unwrap();
        let of = |ty: &str| format!(r#"{ty}{{service_name="{service}",region="eu"}}"#);
        let [samples, cpu, delay] =
            ["process_cpu:samples:count:cpu:nanoseconds", CPU, "mutex:delay:nanoseconds:mutex:count"].map(of);
        let expected = [(samples.as_str(), count.as_str()), (&cpu, &nanos), (&delay, &waited)];
        house.check(name, bytes, &["--label", "region=eu"], &expected);
    }
    let file = house.file("again.jfr", jfr());
    let id = "0123456789abcdef0123456789abcdef";
    let ids = house.push(&file, &["--profile-id", id]);
    assert!(ids.len() == 2 && ids[0] == id && ids[1] != id, "{ids:?}");
    assert_eq!(house.push(&file, &["--profile-id", id]), ids);
    let again = format!(r#"{CPU}{{service_name="again"}}"#);
    assert_eq!(house.sum(&again), nanos);
    // a server that was killed finds them in its log
    house.server.stop("KILL");
    let server = Running::serve(&house.folder.path().join("store"));
    let house = House { folder: house.folder, server };
    assert_eq!(house.sum(&again), nanos);
    assert_eq!(house.push(&file, &["--profile-id", id]), ids);
    assert_eq!(house.sum(&again), nanos);
    assert_eq!(house.sum(r#"mutex:delay:nanoseconds:mutex:count{service_name="plain"}"#), waited);
}

#[test]
fn a_recording_keeps_its_own_time_unless_one_is_given() {
    let house = House::new();
    let mut chunk = Chunk { start_nanos: NOON, ..Chunk::new() };
    chunk.class(101, "jdk.ExecutionSample", &[constant("sampledThread", THREAD), constant("stackTrace", STACK)]).event(
        101,
        502,
        &[numbers(&[1, 1])],
    );
    let file = house.file("own.jfr", chunk.bytes());
    assert_eq!(house.server.ok(&["push", &file]).lines().count(), 1);
    let listed = [&["profiles", "--query", "{service_name=\"own\"}", "--format", "json"], &AROUND[..]].concat();
    assert!(house.server.ok(&listed).contains("2026-05-01T12:00:00"));
}

#[test]
fn requests_of_opentelemetry_keep_their_labels_unless_others_are_given() {
    let house = House::new();
    let sums = "main;run 14\nmain;run;leaf -1\n";
    for (at, layout) in LAYOUTS.into_iter().enumerate() {
        let request = Request { layout, ..Request::example() };
        let region = format!("region=r{at}");
        let query = format!(r#"{CPU}{{service_name="shop",region="r{at}",process.pid="42"}}"#);
        house.check(&format!("request-{at}"), request.bytes(), &["--label", &region], &[(&query, sums)]);
    }
    let query = format!(r#"{CPU}{{service_name="other"}}"#);
    house.check("a.otlp", Request::example().bytes(), &["--service-name", "other"], &[(&query, sums)]);
    let json = r#"{
        "resourceProfiles": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "js"}}]},
            "scopeProfiles": [{"profiles": [{
                "sampleType": {"typeStrindex": 1, "unitStrindex": 2}, "timeUnixNano": "1000",
                "periodType": {"typeStrindex": 1, "unitStrindex": 2}, "period": "10",
                "samples": [{"stackIndex": 1, "values": ["5"]}]
            }]}]
        }],
        "dictionary": {
            "mappingTable": [{}], "locationTable": [{}, {"lines": [{"functionIndex": 1}]}],
            "functionTable": [{}, {"nameStrindex": 3}], "linkTable": [{}], "attributeTable": [{}],
            "stringTable": ["", "cpu", "nanoseconds", "main"], "stackTable": [{}, {"locationIndices": [1]}]
        }
    }"#;
    house.check("request.json", json, &[], &[(&format!(r#"{CPU}{{service_name="js"}}"#), "main 5\n")]);
    house.check("white-space", format!("\n {json}"), &["-l", "a=b"], &[(&format!(r#"{CPU}{{a="b"}}"#), "main 5\n")]);
}

#[test]
fn records_of_parca_keep_their_labels_unless_others_are_given() {
    let house = House::new();
    let record = include_bytes!("../../formats/tests/parca/pyarrow.arrows");
    let api = "main;serve;read 2\nmain;serve;read;sys_read 1\n";
    let expected = [
        (r#"parca_agent:samples:count:cpu:nanoseconds{service_name="api",comm="api",node="n1"}"#, api),
        (r#"parca_agent:cpu:nanoseconds:cpu:nanoseconds{service_name="web"}"#, "0x30 52631578\n"),
    ];
    house.check("record", record, &[], &expected);
    let all = "0x30 1\nmain;serve;read 2\nmain;serve;read;sys_read 1\n";
    let query = r#"parca_agent:samples:count:cpu:nanoseconds{service_name="all",node="n2"}"#;
    let args = ["--service-name", "all", "--label", "node=n2"];
    house.check("record.arrows.gz", gzip(record).unwrap(), &args, &[(query, all)]);
}

#[test]
fn an_error_tells_the_file_what_it_was_read_as_and_why() {
    let house = House::new();
    let recording = jfr();
    for (name, bytes, expected) in [
        ("cut.jfr", &recording[..recording.len() - 9], "cut.jfr: as JFR: chunk 0"),
        ("cut", br#"{"shared": {"frames": ["#, "cut: as speedscope: not a speedscope file"),
        ("old", b"heap profile: 1: 2 [ 1: 2] @ heapprofile\n", "old: as pprof: a legacy text profile"),
        ("a.tree", b"\x00\x00\x07", "a.tree: as a tree: not a tree"),
        ("a.folded", b"main;read x\n", "a.folded: as folded text: folded text: line 1"),
        ("a.gz", b"\x1f\x8b\x08\x00", "a.gz: gzip: the bytes end too early"),
        (
            "what",
            b"no such thing",
            "what: neither its content nor its name tells its format: it is no pprof, JFR, OTLP",
        ),
        ("nothing", b"", "nothing: neither its content"),
    ] {
        let file = house.file(name, bytes);
        let done = house.run(&file, &[]);
        assert_eq!(done.code, Some(1), "{name}");
        assert!(done.err.contains("rejected: ") && done.err.contains(expected), "{name}: {}", done.err);
        assert!(done.err.contains("1 of 1 files were rejected"), "{}", done.err);
    }
    let done = house.run(&house.file("idle.jfr", Chunk::new().bytes()), &[]);
    assert!(done.code == Some(0) && done.err.contains("as JFR: there is no profile in it"), "{}", done.err);
}

#[test]
fn a_file_of_which_a_part_is_wrong_is_stored_without_it_and_told() {
    let house = House::new();
    let mut request = Request::example();
    let dangling = Sample { stack: 99, attributes: vec![], link: 0, values: vec![1], timestamps: vec![] };
    request.profiles[1].samples = vec![dangling];
    let bad = house.file("bad.otlp", request.bytes());
    let good = house.file("good.folded", "main 1\n");
    let time = NOON.to_string();
    let done = house.server.run(&["push", &bad, &good, "--time", &time]);
    assert_eq!(done.code, Some(1));
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines.len() == 2 && lines[0].ends_with("bad.otlp") && lines[1].ends_with("good.folded"), "{}", done.out);
    assert!(done.err.contains("bad.otlp: as OTLP: profile 1: "), "{}", done.err);
    assert!(done.err.contains("[rejected=1, profiles=2]") && done.err.contains("1 of 2 files were"), "{}", done.err);
    assert_eq!(house.sum(&format!(r#"{CPU}{{service_name="shop"}}"#)), "main;run 5\nmain;run;leaf -1\n");
    assert_eq!(house.sum(&format!(r#"{COUNTS}{{service_name="good"}}"#)), "main 1\n");
    let alone = house.run(&bad, &[]);
    assert!(alone.code == Some(1) && alone.out.lines().count() == 1, "{}{}", alone.out, alone.err);
}

type Sums = BTreeMap<String, BTreeMap<String, i64>>;

/// Adds what a plain decode gives of one profile.
fn add(sums: &mut Sums, batch: &ProfileBatch, family: Option<&str>) {
    for (column, ty) in profile_types(batch, family).iter().enumerate() {
        let of_type = sums.entry(ty.to_string()).or_default();
        for (stack, value) in folded(batch, column) {
            *of_type.entry(stack).or_default() += value;
        }
    }
}

/// What a plain decode gives of a file of the corpus: the sums of each profile type.
fn decoded(name: &str, bytes: Bytes) -> Sums {
    let (limits, options) = (Limits::default(), FoldedOptions::default());
    let mut sums = Sums::new();
    if name.contains(".jfr") {
        for profile in decode_jfr(bytes, &JfrOptions::default(), &limits).unwrap() {
            add(&mut sums, &profile.batch, Some(profile.name));
        }
    } else if name.contains("speedscope") {
        for profile in decode_speedscope(bytes, &options, &limits).unwrap() {
            let strings = &profile.batch.symbols.strings;
            let is_bytes = strings.get(profile.batch.header.sample_types[0].unit) == b"bytes";
            add(&mut sums, &profile.batch, is_bytes.then_some("memory"));
        }
    } else if name.contains("otlp") || name.contains(".pb.") {
        let decode = if name.ends_with(".json") { decode_otlp_json } else { decode_otlp };
        for profile in decode(bytes, &limits).unwrap().profiles() {
            let batch = profile.unwrap().batch;
            let is_off_cpu = batch.symbols.strings.get(batch.header.sample_types[0].ty) == b"off_cpu";
            add(&mut sums, &batch, is_off_cpu.then_some("off_cpu"));
        }
    } else if name.ends_with(".bin") {
        add(&mut sums, &decode_tree(bytes, &options, &limits).unwrap(), None);
    } else {
        add(&mut sums, &decode_folded(bytes, &options, &limits).unwrap(), None);
    }
    sums
}

fn corpus() -> Vec<PathBuf> {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS").map(PathBuf::from) else { return Vec::new() };
    let files = |folder: &str| fs::read_dir(corpus.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_wanted = |path: &PathBuf| {
        let name = path.to_str().unwrap();
        !name.ends_with(".pb.gz") && !name.ends_with(".json.gz") && !name.ends_with(".out.json")
    };
    let mut files: Vec<PathBuf> =
        ["jfr", "otlp", "text", "trees"].into_iter().flat_map(files).filter(is_wanted).collect();
    files.sort();
    files
}

#[test]
fn real_files_are_stored_as_a_plain_decode_gives_them() {
    let house = House::new();
    for (at, path) in corpus().iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = decoded(name, fs::read(path).unwrap().into());
        let service = format!("file-{at}");
        let format: &[&str] = if Path::new(name).extension().is_some_and(|end| end == "bin") && name.contains("tree") {
            &["--format", "tree"]
        } else {
            &[]
        };
        house.push(path.to_str().unwrap(), &[&["--service-name", &service], format].concat());
        for (ty, sums) in expected {
            let mut lines: Vec<String> = sums
                .iter()
                .filter(|(_, value)| **value != 0)
                .map(|(stack, value)| format!("{stack} {value}\n"))
                .collect();
            lines.sort();
            let query = format!("{ty}{{service_name=\"{service}\"}}");
            let found = house.sum(&query);
            let lines = lines.concat();
            let difference = found.lines().zip(lines.lines()).find(|(found, wanted)| found != wanted);
            assert!(found == lines, "{name} {ty}: {difference:?}");
        }
    }
}
