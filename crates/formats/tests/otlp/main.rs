//! OpenTelemetry profiles: the three layouts, what each field becomes, what is refused and how much of a request that costs.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../wire/mod.rs"]
mod wire;

mod corpus;
mod json;
mod layouts;
mod request;
mod values;

use bytes::Bytes;
use expect_test::Expect;
use flamestore_formats::{Limits, OtlpRequest, decode_otlp};

use request::Request;

/// The request's profiles as text.
fn show(request: &OtlpRequest) -> String {
    let mut out = format!("layout {}\n", request.layout().as_str());
    for profile in request.profiles() {
        match profile {
            Ok(profile) => {
                profile.batch.check().unwrap();
                let id = profile.id.map(|id| format!(" {id}")).unwrap_or_default();
                let header = &profile.batch.header;
                let types = wire::types(&profile.batch);
                let time = format!("{}+{}", header.time_unix_nano, header.duration_nano);
                out += &format!("{} {types} at {time}{id}\n{}", profile.labels, wire::rows(&profile.batch));
            }
            Err(error) => out += &format!("{:?}: {error}\n", error.kind()),
        }
    }
    out
}

fn shown(bytes: &[u8], limits: &Limits) -> String {
    match decode_otlp(Bytes::copy_from_slice(bytes), limits) {
        Ok(request) => show(&request),
        Err(error) => format!("{:?}: {error}\n", error.kind()),
    }
}

fn check(request: &Request, expected: Expect) {
    expected.assert_eq(&shown(&request.bytes(), &Limits::default()));
}

#[test]
fn a_request_decodes_into_a_profile_for_each_of_its_profiles() {
    check(
        &Request::example(),
        expect_test::expect![[r#"
        layout 1.10
        {a="true", otel.scope.name="profiler", otel.scope.version="v1", process.pid="42", service_name="shop"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50 abababababababababababababababab
        main:9;run:7 [5] thread.name="worker" thread.id=0 trace_id="1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f" span_id="2e2e2e2e2e2e2e2e"
        main:9;run:7;leaf [7] thread.id=0 thread.name="worker" timestamp_ns=100nanoseconds
        main:9;run:7;leaf [-8] thread.id=0 thread.name="worker" timestamp_ns=200nanoseconds
        {a="true", otel.scope.name="profiler", otel.scope.version="v1", process.pid="42", service_name="shop"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50
        main:9;run:7 [9]
    "#]],
    );
}

#[test]
fn what_is_wrong_with_one_profile_leaves_the_others_whole() {
    let mut request = Request::example();
    let good = request.profiles[0].clone();
    let wrong: [fn(&mut request::Profile); 8] = [
        |profile| profile.samples[0].stack = 9,
        |profile| profile.samples[0].attributes = vec![99],
        |profile| profile.samples[0].link = u64::MAX,
        |profile| profile.samples[0].values.clear(),
        |profile| profile.samples[1].timestamps.push(1),
        |profile| profile.samples[1].timestamps = vec![1, u64::MAX],
        |profile| profile.sample_type = None,
        |profile| profile.id = vec![1, 2, 3],
    ];
    request.profiles = vec![good.clone()];
    for make_wrong in wrong {
        let mut profile = good.clone();
        make_wrong(&mut profile);
        request.profiles.push(profile);
    }
    let shown = shown(&request.bytes(), &Limits::default());
    let errors: Vec<&str> = shown.lines().filter(|line| line.starts_with("Invalid") || line.starts_with('{')).collect();
    expect_test::expect![[r#"
        {a="true", otel.scope.name="profiler", otel.scope.version="v1", process.pid="42", service_name="shop"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50 abababababababababababababababab
        Invalid: sample 0: stack 9 is not in the stack table
        Invalid: sample 0: attribute 99 is not in the attribute table
        Invalid: sample 0: link -1 is not in the link table
        Invalid: sample 0: it has neither values nor timestamps
        Invalid: sample 1: it has 2 values, but 3 timestamps
        Invalid: sample 1: a timestamp is beyond 63 bits [nanoseconds=18446744073709551615]
        Invalid: the profile has no sample type
        Invalid: the profile's id is not 16 bytes long [bytes=3]"#]]
        .assert_eq(&errors.join("\n"));
}

#[test]
fn no_bytes_make_it_panic() {
    for layout in request::LAYOUTS {
        let whole = Request { layout, ..Request::example() }.bytes();
        let limits = Limits::default();
        for end in 0..whole.len() {
            shown(&whole[..end], &limits);
        }
        let mut state = 7u64;
        for _ in 0..4000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20).to_le_bytes()[0];
            }
            shown(&bytes, &limits);
        }
    }
}

#[test]
fn limits_count_what_all_profiles_refer_to_together() {
    let request = Request::example();
    let profiles = vec![request.profiles[0].clone(); 3];
    let bytes = Request { profiles, ..request }.bytes();
    let check = |limits: Limits, expected: [&str; 3]| {
        let shown = shown(&bytes, &limits);
        let firsts: Vec<&str> = shown.lines().filter(|line| line.contains(": ") || line.starts_with('{')).collect();
        let outcomes = firsts.iter().map(|line| line.split(" [").next().unwrap());
        let outcomes = outcomes.map(|line| if line.starts_with('{') { "whole" } else { line });
        assert_eq!(outcomes.collect::<Vec<_>>(), expected, "{shown}");
    };
    let all = Limits::default;
    check(all(), ["whole"; 3]);
    let over = |name: &str| format!("Exhausted: the profile is over the limit {name}");
    let [samples, labels, locations, lines] =
        ["samples_max", "labels_max", "stack_locations_max", "lines_max"].map(over);
    check(Limits { samples_max: 6, ..all() }, ["whole", "whole", &samples]);
    check(Limits { labels_max: 20, ..all() }, ["whole", "whole", &labels]);
    check(Limits { stack_locations_max: 10, ..all() }, ["whole", "whole", &locations]);
    check(Limits { lines_max: 7, ..all() }, ["whole", "whole", &lines]);
}

#[test]
fn labels_count_for_every_profile_that_has_them() {
    let mut request = Request::example();
    request.profiles = vec![request.profiles[1].clone(); 3];
    request.resource.push(request::pair("long", request::text([b'x'; 1000])));
    let limits = Limits { decompressed_bytes_max: 3_300, ..Limits::default() };
    let shown = shown(&request.bytes(), &limits);
    let outcomes: Vec<&str> =
        shown.lines().filter(|line| line.starts_with(['{', 'E'])).map(|line| &line[..9]).collect();
    assert_eq!(outcomes, ["{a=\"true\"", "{a=\"true\"", "Exhausted"], "{shown}");
}

#[test]
fn a_request_over_a_limit_is_refused_as_a_whole() {
    let bytes = Request::example().bytes();
    let check = |limits: Limits, name: &str| {
        let shown = shown(&bytes, &limits);
        assert!(shown.starts_with(&format!("Exhausted: the profile is over the limit {name} ")), "{shown}");
    };
    let all = Limits::default;
    check(Limits { decompressed_bytes_max: 10, ..all() }, "decompressed_bytes_max");
    check(Limits { profiles_max: 0, ..all() }, "profiles_max");
    check(Limits { strings_max: 2, ..all() }, "strings_max");
    check(Limits { string_bytes_max: 2, ..all() }, "string_bytes_max");
    check(Limits { stack_depth_max: 1, ..all() }, "stack_depth_max");
    check(Limits { functions_max: 1, ..all() }, "functions_max");
    check(Limits { locations_max: 1, ..all() }, "locations_max");
    check(Limits { mappings_max: 1, ..all() }, "mappings_max");
    check(Limits { lines_per_location_max: 1, ..all() }, "lines_per_location_max");
}
