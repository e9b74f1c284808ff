//! The JSON form.

use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_formats::{Limits, decode_otlp_json};

use crate::show;

fn check(json: &str, expected: Expect) {
    let shown = match decode_otlp_json(Bytes::copy_from_slice(json.as_bytes()), &Limits::default()) {
        Ok(request) => show(&request),
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    expected.assert_eq(&shown);
}

const DICTIONARY: &str = r#""dictionary": {
    "stringTable": ["", "cpu", "ns", "main", "thread", "a\ud83d\udd25"],
    "functionTable": [{}, {"nameStrindex": 3}],
    "locationTable": [{}, {"address": "18446744073709551615", "lines": [{"functionIndex": 1, "line": "12"}]}],
    "linkTable": [{}, {"traceId": "0102030405060708090A0b0c0d0e0f10", "spanId": "ffFFffffffffffff"}],
    "attributeTable": [{}, {"keyStrindex": 4, "value": {"intValue": "-9223372036854775808"}, "unitStrindex": 2},
        {"keyStrindex": 5, "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"stringValueStrindex": 3}]}}}],
    "stackTable": [{}, {"locationIndices": [1, 1]}]
}"#;

#[test]
fn numbers_come_as_numbers_and_strings() {
    let profiles = r#""resourceProfiles": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "double", "value": {"doubleValue": 0.5}}, {"key": "big", "value": {"doubleValue": "Infinity"}},
            {"key": "bytes", "value": {"bytesValue": "_w"}}, {"keyStrindex": 4, "value": {"boolValue": false}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": 0}}]}}}], "unknown": [{}]},
        "scopeProfiles": [{"scope": {"name": "s", "version": null}, "profiles": [{
            "sampleType": {"typeStrindex": 1, "unitStrindex": 2},
            "timeUnixNano": "1774910497545532978", "durationNano": 5, "periodType": {}, "period": "10",
            "profileId": "AQIDBAUGBwgJCgsMDQ4PEA==", "unknown": {"a": [1, {"b": null}]},
            "samples": [{"stackIndex": 1, "attributeIndices": [1, 2], "linkIndex": 1, "values": ["-5", 6, 7e2],
                "timestampsUnixNano": [1, "2", 3]}],
            "sample": [{"values": [1]}]}]}]}]"#;
    check(
        &format!("{{{profiles}, {DICTIONARY}}}"),
        expect![[r#"
        layout 1.10
        {big="Infinity", bytes="/w==", double="0.5", map="{\"k\":0}", otel.scope.name="s", service_name="shop", thread="false"} cpu/ns per 10 / at 1774910497545532978+5 0102030405060708090a0b0c0d0e0f10
        main:12;main:12 [-5] thread=-9223372036854775808ns a🔥="x" a🔥="main" trace_id="0102030405060708090a0b0c0d0e0f10" span_id="ffffffffffffffff" timestamp_ns=1nanoseconds
        main:12;main:12 [6] thread=-9223372036854775808ns a🔥="x" a🔥="main" trace_id="0102030405060708090a0b0c0d0e0f10" span_id="ffffffffffffffff" timestamp_ns=2nanoseconds
        main:12;main:12 [700] thread=-9223372036854775808ns a🔥="x" a🔥="main" trace_id="0102030405060708090a0b0c0d0e0f10" span_id="ffffffffffffffff" timestamp_ns=3nanoseconds
         [1]
    "#]],
    );
    check(
        &format!("{{{DICTIONARY}}}"),
        expect![[r#"
        layout 1.10
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        layout 1.10
    "#]],
    );
}

#[test]
fn what_is_not_such_json_is_refused() {
    check(
        "",
        expect!["Invalid: not the JSON of an OTLP profiles request: EOF while parsing a value at line 1 column 0"],
    );
    check(
        "[]",
        expect![
            "Invalid: not the JSON of an OTLP profiles request: invalid type: sequence, expected an object at line 1 column 0"
        ],
    );
    check(
        "{} {}",
        expect!["Invalid: not the JSON of an OTLP profiles request: trailing characters at line 1 column 4"],
    );
    check(
        r#"{"dictionary": {"stringTable": [1]}}"#,
        expect![
            "Invalid: not the JSON of an OTLP profiles request: `stringTable` has a value of the wrong kind at line 1 column 33"
        ],
    );
    check(
        r#"{"dictionary": {"stringTable": [null]}}"#,
        expect![
            "Invalid: not the JSON of an OTLP profiles request: `stringTable` has an element without a value at line 1 column 37"
        ],
    );
    check(
        r#"{"dictionary": {"linkTable": [{"traceId": "AQI="}]}}"#,
        expect![
            "Invalid: not the JSON of an OTLP profiles request: `traceId` has a value of the wrong kind at line 1 column 48"
        ],
    );
    check(
        r#"{"dictionary": {"locationTable": [{"address": "18446744073709551616"}]}}"#,
        expect!["Invalid: not the JSON of an OTLP profiles request: `address` is beyond 64 bits at line 1 column 68"],
    );
    check(
        r#"{"dictionary": {"locationTable": [{"address": 1.5}]}}"#,
        expect![
            "Invalid: not the JSON of an OTLP profiles request: `address` has a value of the wrong kind at line 1 column 49"
        ],
    );
    check(
        r#"{"dictionary": {"locationTable": [{"lines": 3}]}}"#,
        expect![
            "Invalid: not the JSON of an OTLP profiles request: `lines` has a value of the wrong kind at line 1 column 45"
        ],
    );
    let deep = format!(r#"{{"x": {}"#, "[".repeat(100_000));
    check(
        &deep,
        expect!["Invalid: not the JSON of an OTLP profiles request: EOF while parsing a list at line 1 column 100006"],
    );
}

#[test]
fn what_json_grows_to_is_under_the_limit() {
    let json = format!(r#"{{"dictionary": {{"mappingTable": [{}]}}}}"#, ["{}"; 1000].join(","));
    let limits = Limits { decompressed_bytes_max: 4000, ..Limits::default() };
    let error = decode_otlp_json(Bytes::from(json), &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the profile is over the limit decompressed_bytes_max [limit=4000, found=more than 4000]"
    );
}
