//! Which format bytes are found to have: what the builders of all decoders' tests make, what is none of it, real files.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "parca/record.rs"]
mod record;
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "jfr/recording.rs"]
mod recording;
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "otlp/request.rs"]
mod request;
#[path = "wire/mod.rs"]
mod wire;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use flamestore_formats::{Limits, ProfileBuilder, Recognised, encode_pprof, gzip, recognise};
use flamestore_model::ErrorKind;
use proptest::prelude::*;

use record::{Record, stream};
use recording::Chunk;
use request::{LAYOUTS, Request};
use wire::{bytes, message, number};

fn found(bytes: impl Into<Bytes>) -> Option<Recognised> {
    recognise(bytes.into(), &Limits::default()).unwrap()
}

/// `bytes` are `expected`, compressed or not.
fn check(name: &str, bytes: &[u8], expected: Option<Recognised>) {
    assert_eq!(found(bytes.to_vec()), expected, "{name}");
    assert_eq!(found(gzip(bytes).unwrap()), expected, "{name}, gzip");
    assert_eq!(found(zstd::encode_all(bytes, 1).unwrap()), expected, "{name}, zstd");
}

fn pprof() -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").sample_type("cpu", "nanoseconds").period("cpu", "nanoseconds", 10);
    builder.add_sample(&["main", "read"], &[1, 10], &[]);
    encode_pprof(&builder.finish().unwrap())
}

fn gperftools() -> Vec<u8> {
    [0u64, 3, 0, 10_000, 0, 2, 1, 0x1100, 0, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn what_the_decoders_read_is_recognised() {
    check("pprof", &pprof(), Some(Recognised::Pprof));
    let nameless = [message(1, &[]), bytes(6, ""), message(2, &[number(2, 7)])].concat();
    check("a pprof whose sample type has no name", &nameless, Some(Recognised::Pprof));
    check("gperftools", &gperftools(), Some(Recognised::Pprof));
    check("gperftools' text", b"heap profile:      1:     4 [     1:      4] @ heapprofile\n", Some(Recognised::Pprof));
    check("JFR", &Chunk::new().bytes(), Some(Recognised::Jfr));
    for layout in LAYOUTS {
        for is_unpacked in [false, true] {
            let request = Request { layout, is_unpacked, ..Request::example() };
            check("OTLP", &request.bytes(), Some(Recognised::Otlp));
        }
    }
    let old = [message(1, &[message(2, &[bytes(2, "")])]), message(6, &[number(1, 1)])].concat();
    check("OTLP of a version before 1.8", &old, Some(Recognised::Otlp));
    check("OTLP in JSON", br#"{"dictionary": {"a": [1]}, "resourceProfiles": []}"#, Some(Recognised::Otlp));
    check("OTLP in JSON that breaks off", br#" {"resourceProfiles": [{"#, Some(Recognised::Otlp));
    for json in [
        r#"{"$schema": "https://www.speedscope.app/file-format-schema.json", "profiles": []}"#,
        r#"{"name": {"shared": 1}, "profiles": [], "shared": {"frames": []}}"#,
        "\n{\n \"shared\": {",
    ] {
        check("speedscope", json.as_bytes(), Some(Recognised::Speedscope));
    }
    let record = Record::example();
    check("a record", &stream(&[record.v2()], None), Some(Recognised::Parca));
    check("samples", &stream(&[record.v1_samples()], None), Some(Recognised::Parca));
    check("another writer's record", include_bytes!("parca/pyarrow.arrows"), Some(Recognised::Parca));
    check("folded", b"\n\nmain;read 3\r\nmain 1", Some(Recognised::Folded));
    check("folded with braces", b"{main};{closure} 3\n", Some(Recognised::Folded));
    check("folded that is no UTF-8", b"main;\xff\xfe -3\n", Some(Recognised::Folded));
    let long = "main;read 3\n".repeat(20_000);
    check("long folded text", long.as_bytes(), Some(Recognised::Folded));
}

#[test]
fn what_is_something_else_is_not_recognised() {
    let tree = [vec![0, 0, 1, 4], b"main".to_vec(), vec![3, 0]].concat();
    let label = message(1, &[bytes(1, "service_name"), bytes(2, "app")]);
    let push = message(1, &[label, message(2, &[bytes(1, pprof())])]);
    let contexts = [message(1, &[number(1, 9), message(2, &[])]), message(2, &[number(1, 1), bytes(2, "a")])].concat();
    let cut_off = &pprof()[..pprof().len() - 1];
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("lines", b"main;read\nmain;write\n"),
        ("a line without a number", b"main;read 3\nmain;write\n"),
        ("text", b"Total: 12 samples"),
        ("a number", b"12"),
        ("a tree", &tree),
        ("a request of Pyroscope's push", &push),
        ("labels of a recording", &contexts),
        ("a pprof that is cut off", cut_off),
        ("strings and no sample type", &bytes(6, "")),
        ("JSON", br#"{"$schema": "https://json-schema.org/", "profiles": [1]}"#),
        ("JSON with another schema", br#"{"$schema": 1}"#),
        ("a list of JSON", br#"[{"shared": 1}]"#),
        ("an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("a file of Arrow", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0"),
        ("ff", b"\xff\xff\xff\xff"),
    ] {
        check(name, bytes, None);
    }
    let damaged = recognise(Bytes::from_static(b"\x1f\x8bnot gzip at all"), &Limits::default());
    assert_eq!(damaged.unwrap_err().kind(), ErrorKind::Invalid);
    let small = Limits { decompressed_bytes_max: 9, ..Limits::default() };
    assert_eq!(recognise(gzip(&[7; 10]).unwrap().into(), &small).unwrap_err().kind(), ErrorKind::Exhausted);
}

/// What a file of the corpus is, by its name.
fn expected(path: &Path) -> Option<Recognised> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match path.iter().next().unwrap().to_str().unwrap() {
        "arrow" => Some(Recognised::Parca),
        "pprof" => Some(Recognised::Pprof),
        // of what profilers sent, only these are no forms and no requests of several profiles
        "captured" => {
            let is_pprof = ["captured/node", "captured/py0816"].iter().any(|sender| path.starts_with(sender));
            (is_pprof && is(&[".body"])).then_some(Recognised::Pprof)
        }
        "jfr" if is(&["labels.pb.gz", ".json.gz"]) => None,
        "jfr" => Some(if is(&[".pb.gz"]) { Recognised::Pprof } else { Recognised::Jfr }),
        "otlp" => (!is(&[".out.json"])).then_some(Recognised::Otlp),
        "text" => Some(if is(&[".speedscope.json"]) { Recognised::Speedscope } else { Recognised::Folded }),
        _ => None,
    }
}

#[test]
fn real_files_are_what_they_are() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS").map(PathBuf::from) else { return };
    let (mut folders, mut files) = (vec![corpus.clone()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let of_corpus = path.strip_prefix(&corpus).unwrap();
            assert_eq!(found(std::fs::read(&path).unwrap()), expected(of_corpus), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 0);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(recognise(bytes.into(), &Limits::default()));
    }

    #[test]
    fn no_damage_makes_it_panic(which in 0..6usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), end in any::<prop::sample::Index>()) {
        let record = include_bytes!("parca/pyarrow.arrows").to_vec();
        let json = br#"{"name": "a", "shared": {}}"#.to_vec();
        let mut bytes = [pprof(), gperftools(), Chunk::new().bytes(), Request::example().bytes(), record, json][which].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(end.index(bytes.len()) + 1);
        drop(recognise(bytes.into(), &Limits::default()));
    }
}
