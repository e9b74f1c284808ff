//! Layouts are told apart before anything is decoded.

use std::slice::from_ref;

use expect_test::expect;
use flamestore_formats::{Limits, OtlpLayout};

use crate::request::{LAYOUTS, Request, Sample};
use crate::wire::{bytes, fixed64, message, number, packed};
use crate::{check, shown};

#[test]
fn every_layout_gives_the_same_profiles() {
    let expected = shown(&Request::example().bytes(), &Limits::default());
    let (_, profiles) = expected.split_once('\n').unwrap();
    for layout in LAYOUTS {
        let found = shown(&Request { layout, ..Request::example() }.bytes(), &Limits::default());
        assert_eq!(found, format!("layout {}\n{profiles}", layout.as_str()));
    }
    // Field 4 one by one says nothing by itself, but 1.9 would have links and attributes that do not exist.
    let unpacked = Request { is_unpacked: true, ..Request::example() };
    assert_eq!(shown(&unpacked.bytes(), &Limits::default()), expected);
}

fn samples(layout: OtlpLayout, samples: Vec<Sample>) -> Request {
    let mut request = Request { layout, ..Request::example() };
    request.profiles.truncate(1);
    request.profiles[0].samples = samples;
    request.profiles[0].id.clear();
    request.resource.clear();
    request.scope.clear();
    request
}

#[test]
fn samples_without_evidence_are_tried_against_the_tables() {
    let times = |attributes: Vec<u64>| Sample { stack: 1, attributes, link: 0, values: vec![], timestamps: vec![7, 8] };
    check(
        &samples(OtlpLayout::V1_10, vec![times(vec![1, 2])]),
        expect![[r#"
        layout 1.10
        {service_name="unknown_service"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50
        main:9;run:7 [1] thread.name="worker" thread.id=0 timestamp_ns=7nanoseconds
        main:9;run:7 [1] thread.name="worker" thread.id=0 timestamp_ns=8nanoseconds
    "#]],
    );
    let values =
        |values: Vec<i64>, timestamps: Vec<u64>| Sample { stack: 1, attributes: vec![], link: 0, values, timestamps };
    // As attributes these would make sense, but then there would be neither values nor times.
    check(
        &samples(OtlpLayout::V1_9, vec![values(vec![1], vec![])]),
        expect![[r#"
        layout 1.9
        {service_name="unknown_service"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50
        main:9;run:7 [1]
    "#]],
    );
    // As attributes these do not exist; one such sample speaks for all.
    let both = vec![values(vec![1, 2], vec![7, 8]), values(vec![1000, 2], vec![7, 8])];
    check(
        &samples(OtlpLayout::V1_9, both),
        expect![[r#"
        layout 1.9
        {service_name="unknown_service"} cpu/nanoseconds per 10 cpu/nanoseconds at 1000+50
        main:9;run:7 [1] timestamp_ns=7nanoseconds
        main:9;run:7 [2] timestamp_ns=8nanoseconds
        main:9;run:7 [1000] timestamp_ns=7nanoseconds
        main:9;run:7 [2] timestamp_ns=8nanoseconds
    "#]],
    );
    check(
        &samples(OtlpLayout::V1_9, vec![values(vec![1000, 2, 3], vec![7, 8])]),
        expect![[r#"
        Invalid: the samples make sense under no layout of OTLP profiles from 1.8 to 1.10: is the sender's version older?
    "#]],
    );
}

#[test]
fn two_layouts_in_one_request_are_refused() {
    let mut mixed = Request { layout: OtlpLayout::V1_9, ..Request::example() }.bytes();
    mixed.extend(Request::example().bytes());
    expect![[r#"
        Invalid: the request mixes the field numbers of two OTLP versions
    "#]]
    .assert_eq(&shown(&mixed, &Limits::default()));
}

#[test]
fn older_layouts_are_named() {
    let request = |profile: &[Vec<u8>], dictionary: &[Vec<u8>]| {
        [message(1, &[message(2, &[message(2, profile)])]), message(2, dictionary)].concat()
    };
    let strings = [bytes(5, ""), bytes(5, "cpu")].concat();
    let check = |bytes: &[u8], why: &str| {
        let shown = shown(bytes, &Limits::default());
        assert!(shown.contains("1.7 or older") && shown.contains(why), "{shown}");
    };
    let sample_type = message(1, &[number(1, 1)]);
    // 1.4 to 1.5: the tables are in the profile.
    check(&message(1, &[message(2, &[message(2, from_ref(&sample_type))])]), "no dictionary");
    // 1.6: the tables are in the request.
    check(&[message(2, &[]), message(5, &[]), message(1, &[])].concat(), "beside the resources");
    // 1.7: locations of all stacks in one list, units in a table.
    check(&request(&[sample_type.clone(), packed(3, &[1])], from_ref(&strings)), "not its time");
    let unit = message(7, &[number(1, 1), number(2, 1)]);
    check(&request(from_ref(&sample_type), &[strings.clone(), unit]), "units of attributes");
    let attribute = message(6, &[bytes(1, "key"), bytes(2, [])]);
    check(&request(&[sample_type, fixed64(3, 1)], &[strings, attribute]), "written out");
}
