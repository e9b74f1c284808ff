//! What attributes, links, mappings and headers become.

use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_formats::{Limits, decode_otlp};

use crate::request::{Request, Sample, int, pair, text};
use crate::wire::{bytes, fixed64, message, number};
use crate::{check, shown};

/// The labels and the first row of the example after a change.
fn first(change: impl FnOnce(&mut Request)) -> String {
    let mut request = Request::example();
    request.profiles.truncate(1);
    change(&mut request);
    shown(&request.bytes(), &Limits::default()).lines().skip(1).take(2).collect::<Vec<_>>().join("\n")
}

fn check_labels(resource: Vec<Vec<u8>>, scope: Vec<Vec<u8>>, expected: Expect) {
    let shown = first(|request| (request.resource, request.scope) = (resource, scope));
    expected.assert_eq(shown.split_once(" cpu/").unwrap_or((&shown, "")).0);
}

#[test]
fn attributes_of_resource_and_scope_are_labels() {
    let by_number = |key: u64, value: u64| [number(3, key), message(2, &[number(8, value)])].concat();
    check_labels(vec![by_number(10, 11)], vec![], expect![[r#"{service_name="shop"}"#]]);
    let list = message(
        5,
        &[message(1, &[text("x")]), message(1, &[number(8, 8)]), message(1, &[fixed64(4, 1.5f64.to_bits())])],
    );
    let map = message(6, &[message(1, &[pair("k", int(1))]), message(1, &[by_number(7, 8)])]);
    check_labels(
        vec![
            pair("list", list),
            pair("map", map),
            pair("bytes", bytes(7, [0xff, 0])),
            pair("bool", number(2, 0)),
            pair("double", fixed64(4, f64::NAN.to_bits())),
            pair("none", vec![]),
            pair("not UTF-8", text(b"\xff")),
            pair("twice", text("first")),
        ],
        vec![bytes(3, pair("twice", text("second")))],
        expect![[
            r#"{bool="false", bytes="/wA=", double="NaN", list="[\"x\",\"worker\",1.5]", map="{\"k\":1,\"thread.name\":\"worker\"}", not UTF-8="�", service_name="unknown_service", twice="first"}"#
        ]],
    );
    check_labels(
        vec![by_number(1, 1000)],
        vec![],
        expect!["Invalid: an attribute: string 1000 is not in the string table"],
    );
    let deep = (0..40).fold(int(1), |value, _| message(5, &[message(1, &[value])]));
    check_labels(
        vec![pair("deep", deep)],
        vec![],
        expect!["Invalid: lists and maps of an attribute lie too deep in each other [limit=32]"],
    );
}

#[test]
fn the_name_of_the_service_falls_back() {
    check_labels(vec![], vec![], expect![[r#"{service_name="unknown_service"}"#]]);
    let executable = pair("process.executable.name", text("bash"));
    check_labels(
        vec![executable.clone()],
        vec![],
        expect![[r#"{process.executable.name="bash", service_name="unknown_service:bash"}"#]],
    );
    check_labels(
        vec![executable, pair("service.name", text("given"))],
        vec![],
        expect![[r#"{process.executable.name="bash", service_name="given"}"#]],
    );
    check_labels(vec![pair("service.name", text(""))], vec![], expect![[r#"{service_name="unknown_service"}"#]]);
}

#[test]
fn attributes_of_samples_keep_their_kind_and_unit() {
    let list = |values: &[Vec<u8>]| message(5, &values.iter().map(|value| bytes(1, value)).collect::<Vec<_>>());
    let values = vec![
        (7, number(8, 8), 0),
        (9, int(-3), 2),
        (9, list(&[int(4), text("five")]), 0),
        (9, list(&[number(2, 1)]), 0),
        (9, number(2, 1), 0),
        (9, vec![], 0),
        (9, text(b"\xff\xfe"), 0),
    ];
    let shown = first(|request| {
        request.attributes = values;
        request.profiles[0].samples[0].attributes = vec![0, 1, 2, 3, 4, 5, 6, 7];
    });
    expect![[r#"main:9;run:7 [5] thread.name="worker" thread.id=-3nanoseconds thread.id=4 thread.id="five" thread.id="[true]" thread.id="true" thread.id="" thread.id="��" trace_id="1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f" span_id="2e2e2e2e2e2e2e2e""#]].assert_eq(shown.lines().nth(1).unwrap());
}

#[test]
fn attributes_of_a_profile_go_where_pprof_keeps_them() {
    let mut request = Request::example();
    request.profiles.truncate(1);
    request.strings.extend([
        b"pprof.profile.comment".as_slice(),
        b"pprof.profile.drop_frames",
        b"pprof.profile.keep_frames",
        b"pprof.profile.doc_url",
        b"other",
    ]);
    let comments = message(5, &[message(1, &[text("one")]), message(1, &[text("two")])]);
    request.attributes =
        vec![(13, comments, 0), (14, text("drop"), 0), (15, text("keep"), 0), (16, text("url"), 0), (17, int(3), 0)];
    request.profiles[0].attributes = vec![1, 2, 3, 4, 5];
    request.profiles[0].samples.clear();
    request.scope.push(bytes(3, pair("pprof.scope.default_sample_type", text("cpu"))));
    let decoded = decode_otlp(Bytes::from(request.bytes()), &Limits::default()).unwrap();
    let profile = decoded.profiles().next().unwrap().unwrap();
    let (header, strings) = (&profile.batch.header, &profile.batch.symbols.strings);
    let texts = [header.drop_frames, header.keep_frames, header.doc_url, header.default_sample_type];
    assert_eq!(texts.map(|id| strings.text(id).into_owned()), ["drop", "keep", "url", "cpu"]);
    assert_eq!(header.comments.iter().map(|id| strings.text(*id)).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(profile.labels.get("other"), Some("3"));
    assert_eq!(profile.labels.len(), 6, "{}", profile.labels);
}

#[test]
fn mappings_take_the_better_build_id() {
    let mut request = Request::example();
    let names: [&[u8]; 4] = [
        b"process.executable.build_id.htlhash",
        b"process.executable.build_id.gnu",
        b"pprof.mapping.has_functions",
        b"pprof.location.is_folded",
    ];
    request.strings.extend(names);
    request.attributes.extend([
        (13, text("hash"), 0),
        (14, text("gnu"), 0),
        (15, number(2, 1), 0),
        (16, number(2, 1), 0),
    ]);
    let mut bytes_of = request.bytes();
    // Further rows of the tables, with a stack of their own; the dictionary may come in parts.
    bytes_of.extend(message(
        2,
        &[
            message(1, &[number(4, 6), number(5, 4), number(5, 3), number(5, 5)]),
            message(2, &[number(1, 2), number(2, 7), number(4, 6)]),
            message(7, &[number(1, 3)]),
        ],
    ));
    let sample = message(2, &[number(1, 3), message(4, &[vec![1]])]);
    let profile = message(2, &[message(1, &[number(1, 1)]), sample]);
    bytes_of.extend(message(1, &[message(2, &[profile])]));
    let decoded = decode_otlp(Bytes::from(bytes_of), &Limits::default()).unwrap();
    let profile = decoded.profiles().last().unwrap().unwrap();
    let symbols = &profile.batch.symbols;
    assert_eq!(symbols.strings.get(symbols.mappings[0].build_id), b"gnu");
    assert_eq!(symbols.strings.get(symbols.mappings[0].filename), b"/bin/app");
    assert!(symbols.mappings[0].has_functions && !symbols.mappings[0].has_filenames);
    assert!(symbols.locations[0].is_folded);
    assert_eq!((symbols.mappings.len(), symbols.locations.len(), symbols.functions.len()), (1, 1, 0));
}

#[test]
fn the_clocks_of_async_profiler_have_the_names_that_others_give_them() {
    let check = |ty: &'static str, unit: &'static str, period_unit: &'static str, expected: Expect| {
        let shown = first(|request| {
            request.strings.push(unit.as_bytes());
            (request.strings[1], request.strings[2]) = (ty.as_bytes(), period_unit.as_bytes());
            request.profiles[0].sample_type = Some((1, 13));
        });
        let types = shown.split_once("} ").unwrap().1.split_once(" at ").unwrap().0;
        expected.assert_eq(types);
    };
    check("ctimer", "count", "ns", expect!["samples/count per 10 cpu/nanoseconds"]);
    check("itimer", "ns", "ns", expect!["cpu/nanoseconds per 10 cpu/nanoseconds"]);
    check("perf_events", "count", "ns", expect!["samples/count per 10 cpu/nanoseconds"]);
    check("wall", "count", "ns", expect!["samples/count per 10 wall/nanoseconds"]);
    check("wall", "ns", "ns", expect!["wall/nanoseconds per 10 wall/nanoseconds"]);
    // neither a clock nor time
    check("object_sampler", "count", "bytes", expect!["object_sampler/count per 10 object_sampler/bytes"]);
    check("perf_events", "count", "total", expect!["perf_events/count per 10 perf_events/total"]);
    check("wall", "nanoseconds", "nanoseconds", expect!["wall/nanoseconds per 10 wall/nanoseconds"]);
}

#[test]
fn names_need_not_be_utf_8() {
    let mut request = Request::example();
    request.profiles.truncate(1);
    request.strings[5] = b"le\xff\xfe";
    let decoded = decode_otlp(Bytes::from(request.bytes()), &Limits::default()).unwrap();
    let profile = decoded.profiles().next().unwrap().unwrap();
    let symbols = &profile.batch.symbols;
    assert!(symbols.functions.iter().any(|function| symbols.strings.get(function.name) == b"le\xff\xfe"));
}

#[test]
fn an_empty_request_has_no_profiles() {
    let request = decode_otlp(Bytes::new(), &Limits::default()).unwrap();
    assert!(request.is_empty() && request.profiles().next().is_none());
}

#[test]
fn a_stack_of_no_frames_is_kept() {
    let mut request = Request::example();
    request.profiles.truncate(1);
    request.profiles[0].samples =
        vec![Sample { stack: 0, attributes: vec![], link: 0, values: vec![1, 2], timestamps: vec![] }];
    check(
        &request,
        expect![[r#"
        layout 1.10
        {a="true", otel.scope.name="profiler", otel.scope.version="v1", process.pid="42", service_name="shop"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50 abababababababababababababababab
         [1]
         [2]
    "#]],
    );
}
